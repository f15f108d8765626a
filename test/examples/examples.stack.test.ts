import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { buildIfStale } from '../../dev/build.mjs';
import {
  startDemoProviderServer,
  type DemoProviderServer,
} from '../support/demo-provider-server.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

const examples = join(import.meta.dirname, '..', '..', 'examples');
let stack: TestStack;
let provider: DemoProviderServer;
let connectionId: string;
let env: Record<string, string>;

beforeAll(async () => {
  // The examples import token-manager/client as others do, which is what was built.
  await buildIfStale();
  [stack, provider] = await Promise.all([startTestStack(), startDemoProviderServer()]);
  const appId = await provider.registerApp(stack);
  [connectionId = ''] = await provider.addConnections(stack, appId, 1);
  env = {
    PATH: process.env['PATH'] ?? '',
    TOKEN_MANAGER_URL: stack.origin,
    API_URL: provider.issuer,
    PORT: '0',
  };
}, 240_000);
afterAll(async () => {
  await stack.close();
  provider.close();
});

describe('the examples', () => {
  it('the plain service calls the API of a connection whose token had expired', async () => {
    const service = spawn(process.execPath, [join(examples, 'plain-service', 'service.mjs')], {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const origin = await readOrigin(service);
      const get = async (path: string): Promise<{ status: number; body: unknown }> => {
        const answer = await fetch(`${origin}${path}`);
        return { status: answer.status, body: await answer.json() };
      };
      for (let call = 0; call < 3; call += 1) {
        expect(await get(`/userinfo/${connectionId}`)).toEqual({
          status: 200,
          body: { sub: connectionId },
        });
      }
      expect(await get('/userinfo/unknown')).toMatchObject({ status: 500 });
      expect(await get('/counts')).toMatchObject({
        body: { tokens: { gateway: 1, window: 2 }, rejected: 0 },
      });
    } finally {
      service.kill('SIGTERM');
      const [code] = (await once(service, 'exit')) as [number | null];
      expect(code).toBe(0);
    }
    expect(provider.stats().total).toMatchObject({ exchanges: 1, reuse: 0 });
  });

  it('curl reads, calls and refreshes', async () => {
    const { stdout } = await promisify(execFile)('sh', [join(examples, 'curl.sh'), connectionId], {
      env,
    });
    const [, version] = /^version (\d+)$/m.exec(stdout) ?? [];
    expect(stdout).toContain(`{"sub":"${connectionId}"}`);
    expect(stdout).toContain(`refreshed to version ${Number(version) + 1}`);
  });
});

async function readOrigin(service: ChildProcess): Promise<string> {
  let said = '';
  service.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const origin = (): string | undefined => /listening on (http:\S+)/.exec(said)?.[1];
  await vi.waitUntil(() => origin() !== undefined, { timeout: 20_000 });
  return origin() ?? '';
}
