import { execFile, execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Connection } from '@temporalio/client';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { buildIfStale } from '../../dev/build.mjs';
import { ensureNexusEndpoint } from '../../dev/nexus-endpoint.ts';
import { findNode24 } from '../../dev/node24.mjs';
import { startScriptedGateway, type ScriptedGateway } from '../client/scripted-gateway.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

const root = join(import.meta.dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'token-manager-package-'));
const consumer = join(folder, 'consumer');
const installed = join(consumer, 'node_modules', 'token-manager');
const node24 = findNode24(root);
const nodes = [
  { version: process.version, node: process.execPath },
  ...(node24 === undefined ? [] : [{ version: 'Node 24', node: node24 }]),
];
let gateway: ScriptedGateway;
const nexusEndpoint = `consumer-${randomUUID()}`;
let stack: TestStack;
let tokenEndpoint: ScriptedTokenEndpoint;
let tarball: string;
let files: string[];

/**
 * The consumer has the tarball unpacked as npm does, and beside it nothing but what `linked` names: neither
 * npm's network nor minutes are spent on dependencies that this project has installed already.
 */
const linked = ['@types/node', 'undici-types', '@temporalio', 'nexus-rpc'];

beforeAll(async () => {
  await buildIfStale();
  const pack = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder];
  const [packed] = JSON.parse(
    execFileSync('npm', pack, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  ) as [{ filename: string; files: { path: string }[] }];
  tarball = join(folder, packed.filename);
  files = packed.files.map(({ path }) => path);
  cpSync(join(import.meta.dirname, 'consumer'), consumer, { recursive: true });
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', tarball, '-C', installed, '--strip-components=1']);
  for (const name of linked) {
    const target = join(consumer, 'node_modules', name);
    mkdirSync(dirname(target), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), target);
  }
  for (const project of ['tsconfig.json', 'tsconfig.worker.json']) {
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    execFileSync(process.execPath, [compiler, '-p', join(consumer, project)], {
      encoding: 'utf8',
      stdio: ['ignore', 'inherit', 'inherit'],
    });
  }
  gateway = await startScriptedGateway();
  gateway.answer(({ connectionId }) =>
    connectionId === 'gone' ? { problem: 'reauthorization_required' } : { token: {} },
  );
  [stack, tokenEndpoint] = await Promise.all([startTestStack(), startScriptedTokenEndpoint()]);
  const { namespace, taskQueues } = stack.allInOne.services.config.temporal;
  const connection = await Connection.connect({ address: inject('temporalAddress') });
  await ensureNexusEndpoint(connection, {
    name: nexusEndpoint,
    namespace,
    taskQueue: taskQueues.wait,
  });
  await connection.close();
}, 240_000);
afterAll(async () => {
  await gateway.close();
  await stack.close();
  await tokenEndpoint.close();
  rmSync(folder, { recursive: true });
});

describe('the package', () => {
  it('publint finds nothing', async () => {
    const { messages, pkg } = await publint({ pkgDir: installed, strict: true });
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
  });

  it('are-the-types-wrong finds nothing', async () => {
    const result = await checkPackage(createPackageFromTarballData(readFileSync(tarball)));
    // Subpaths are for `exports`; TypeScript's node10 resolution, of before 2022, does not read those.
    const problems = (result.types === false ? [] : result.problems).filter(
      (problem) => !('resolutionKind' in problem && problem.resolutionKind === 'node10'),
    );
    expect(result.types).not.toBe(false);
    expect(problems).toEqual([]);
  });

  it('holds what is built and what explains it, and nothing else', () => {
    const places = new Set(files.map(placeOf));
    expect([...places].sort()).toEqual([
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'SECURITY.md',
      'dist/activities/',
      'dist/build-info.json',
      'dist/cli/',
      'dist/client-cjs/',
      'dist/client/',
      'dist/connections/',
      'dist/gateway/',
      'dist/oauth/',
      'dist/platform/',
      'dist/vault/',
      'dist/worker/',
      'dist/workflows/',
      'docs/',
      'package.json',
      'temporal.config.json',
      'temporal.config.schema.json',
    ]);
    expect(files.filter((file) => /\.map$|\.env|\.key$|\.pem$|(?<!\.d)\.ts$/.test(file))).toEqual(
      [],
    );
  });

  it.each(['client/token-manager-client.js', 'client-cjs/token-manager-client.js'])(
    'nothing of the service, and no package, is in the tree of %s',
    (entry) => {
      const graph = reach(join(installed, 'dist', entry));
      expect(graph.packages.filter((name) => !name.startsWith('node:'))).toEqual([]);
      const own = join(installed, 'dist', dirname(entry));
      expect(graph.files.filter((file) => dirname(file) !== own)).toEqual([]);
      expect(graph.files.length).toBeGreaterThan(10);
    },
  );

  it.each(
    nodes.flatMap(({ version, node }) =>
      ['client-esm.js', 'client-cjs.cjs'].map((program) => ({ version, node, program })),
    ),
  )('$program runs on $version', async ({ node, program }) => {
    const output = await run(node, [join(consumer, 'out', program), gateway.origin]);
    expect(JSON.parse(output)).toEqual({
      accessToken: 'token-canary-1',
      tokenVersion: 1,
      isTyped: true,
    });
  });

  it.each(nodes)(
    'Workflows of a Worker of its own wait on $version',
    async ({ node }) => {
      const appId = await stack.addApp(tokenEndpoint.url);
      const connectionId = await stack.addConnection(appId, tokenEndpoint.grant());
      const { namespace, taskQueues } = stack.allInOne.services.config.temporal;
      const output = await run(node, [
        join(consumer, 'out', 'worker-esm.js'),
        ...[inject('temporalAddress'), namespace, taskQueues.wait, nexusEndpoint, connectionId],
      ]);
      expect(JSON.parse(output.split('\n').find((line) => line.startsWith('{')) ?? '')).toEqual({
        outcomes: [
          ['refreshed', 2],
          ['already_fresh', 2],
        ],
        names: ['token-manager', 'refresh/c1'],
      });
    },
    120_000,
  );

  it('compiles programs of a consumer, types of every subpath included', () => {
    expect(readdirSync(join(consumer, 'out'))).toContain('client-types.js');
  });
});

/** A room of dist/, another folder at the top, or a file that lies in neither. */
function placeOf(file: string): string {
  const [top = '', second = '', ...below] = file.split('/');
  if (top === 'dist') return below.length === 0 ? file : `dist/${second}/`;
  return second === '' ? file : `${top}/`;
}

/** The files and packages that a module imports or requires, and those that these do. */
function reach(entry: string): { files: string[]; packages: string[] } {
  const reached = new Set([entry]);
  const packages = new Set<string>();
  for (const file of reached) {
    const source = readFileSync(file, 'utf8');
    for (const [, specifier = ''] of source.matchAll(
      /(?:^(?:import|export)[^;]*?from |^import |\brequire\(|\bimport\()['"]([^'"]+)['"]/gm,
    )) {
      if (specifier.startsWith('.')) reached.add(join(dirname(file), specifier));
      else packages.add(specifier);
    }
  }
  return { files: [...reached], packages: [...packages] };
}

function run(node: string, args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(node, args, { timeout: 90_000 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(stderr, { cause: error }));
    });
  });
}
