import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { configFileSchema } from '../../platform/config-file-schema.ts';
import { loadConfig } from '../../platform/config.ts';
import type { Environment } from '../../platform/settings.ts';
import { issueCertificates } from '../support/certificates.ts';

const folder = new URL('../../deploy/kustomize/', import.meta.url);
const preStopSeconds = 5;
const gatewayDrainSeconds = 25;

interface Container {
  args: string[];
  env: { name: string; value?: string }[];
  ports: { name: string; containerPort: number }[];
  readinessProbe: Probe;
  livenessProbe: Probe;
  lifecycle?: { preStop: { exec: { command: string[] } } };
  securityContext: Record<string, unknown>;
}
interface Probe {
  httpGet: { path: string; port: string };
}
interface Manifest {
  kind: string;
  metadata: { name: string };
  spec: {
    template: {
      spec: {
        terminationGracePeriodSeconds: number;
        securityContext: Record<string, unknown>;
        containers?: [Container];
      };
    };
  };
}

const manifests = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.yaml'))
  .flatMap((file) =>
    parseAllDocuments(readFileSync(new URL(file, folder), 'utf8')).map(
      (document) => ({ file, manifest: document.toJS() as Manifest }) as const,
    ),
  );

/** What the overlay's container sees of its settings. */
function environment(overlay: 'dev' | 'production', name: 'gateway' | 'worker'): Environment {
  const patched = manifests.filter(
    ({ file, manifest }) =>
      (file.startsWith('base/') || file.startsWith(`overlays/${overlay}/`)) &&
      manifest.kind === 'Deployment' &&
      manifest.metadata.name === `token-manager-${name}`,
  );
  // The base comes first in the listing, as it does for kustomize.
  const variables = patched
    .toSorted((a, b) => a.file.localeCompare(b.file))
    .flatMap(({ manifest }) => {
      const [container] = manifest.spec.template.spec.containers ?? [];
      return container?.env ?? [];
    });
  const settings = readFileSync(new URL('base/settings.env', folder), 'utf8')
    .split('\n')
    .filter((line) => /^[A-Z]/.test(line))
    .map((line) => line.split('=', 2) as [string, string]);
  return {
    NODE_ENV: 'production',
    ...Object.fromEntries(settings),
    ...Object.fromEntries(variables.map(({ name, value }) => [name, value])),
  };
}

function pod(name: string): Required<Manifest['spec']['template']['spec']> {
  const found = manifests.find(
    ({ file, manifest }) =>
      file.startsWith('base/') && manifest.kind === 'Deployment' && manifest.metadata.name === name,
  );
  if (found === undefined) throw new Error(`no Deployment ${name} in the base`);
  const { containers, ...rest } = found.manifest.spec.template.spec;
  if (containers === undefined) throw new Error(`the Deployment ${name} has no container`);
  return { ...rest, containers };
}

describe('deploy/kustomize', () => {
  const config = configFileSchema.parse(
    JSON.parse(readFileSync(new URL('base/temporal.config.json', folder), 'utf8')),
  );

  it('gives each process longer than it takes to end', () => {
    const gateway = pod('token-manager-gateway');
    const [container] = gateway.containers;
    expect(container.lifecycle?.preStop.exec.command).toEqual(['sleep', String(preStopSeconds)]);
    expect(gateway.terminationGracePeriodSeconds).toBeGreaterThan(
      preStopSeconds + gatewayDrainSeconds,
    );
    const worker = pod('token-manager-worker');
    expect(worker.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(90);
    expect(worker.terminationGracePeriodSeconds).toBeGreaterThan(
      config.worker.shutdownGraceSeconds + 20,
    );
  });

  it.each(['gateway', 'worker'])('probes the metrics port of the %s', (name) => {
    const [container] = pod(`token-manager-${name}`).containers;
    expect(container.args).toEqual([name]);
    expect(container.readinessProbe.httpGet).toEqual({ path: '/ready', port: 'metrics' });
    expect(container.livenessProbe.httpGet).toEqual({ path: '/ping', port: 'metrics' });
    expect(container.ports).toContainEqual({ name: 'metrics', containerPort: 9994 });
  });

  it.each(['gateway', 'worker'])('lets the %s do nothing that it need not', (name) => {
    const { securityContext, containers } = pod(`token-manager-${name}`);
    expect(securityContext).toMatchObject({
      runAsNonRoot: true,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect(containers[0].securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
  });

  it.each(['gateway', 'worker'])('hands the %s its secrets as files', (name) => {
    const [container] = pod(`token-manager-${name}`).containers;
    const values = container.env.map(({ name, value = '' }) => `${name}=${value}`);
    expect(values).toContain('DATABASE_URL_FILE=/run/token-manager/database/url');
    expect(values.filter((value) => /^(DATABASE_URL|PGPASSWORD)=/.test(value))).toEqual([]);
  });

  it.each([
    ['dev', 'gateway', 'disabled'],
    ['dev', 'worker', undefined],
    ['production', 'gateway', 'mtls'],
    ['production', 'worker', undefined],
  ] as const)('sets what the process accepts: %s, %s', async (overlay, name, tlsMode) => {
    const { authority, key, cert } = await issueCertificates(['token-manager']);
    const files: Record<string, string> = {
      '/app/temporal.config.json': readFileSync(
        new URL('base/temporal.config.json', folder),
        'utf8',
      ),
      '/run/token-manager/database/url': 'postgres://service@postgresql/token_manager',
      '/run/token-manager/key/local.key': Buffer.alloc(32).toString('base64'),
      '/run/token-manager/tls/tls.crt': cert,
      '/run/token-manager/tls/tls.key': key,
      '/run/token-manager/tls/ca.crt': authority,
      '/run/token-manager/callers/callers.json': '{"callers": []}',
    };
    const env = environment(overlay, name);
    expect(env['TLS_MODE']).toBe(tlsMode);
    const loaded = loadConfig({
      env,
      configFile: '/app/temporal.config.json',
      readFile: (path) => {
        const contents = files[path];
        if (contents === undefined) throw new Error(`${path} is not mounted`);
        return contents;
      },
    });
    expect(loaded.warnings).toEqual([]);
    expect(loaded.http.host).toBe('0.0.0.0');
  });

  it('ejects no replica for its 503', () => {
    const kinds = new Set(manifests.map(({ manifest }) => manifest.kind));
    expect([...kinds].filter((kind) => /DestinationRule|BackendTrafficPolicy/.test(kind))).toEqual(
      [],
    );
    expect(JSON.stringify(manifests)).not.toContain('outlierDetection');
  });
});
