import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createPprofServer, type PprofServer } from '../../platform/pprof-server.ts';
import { loadProfiler, type Profiler } from '../../platform/profiler.ts';

const folder = mkdtempSync(join(tmpdir(), 'token-manager-pprof-'));
const hasGo = spawnSync('go', ['version']).status === 0;
const servers: PprofServer[] = [];
let profiler: Profiler;

beforeAll(async () => {
  profiler = await loadProfiler();
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});
afterAll(() => {
  profiler.close();
  rmSync(folder, { recursive: true, force: true });
});

async function serve(port = 0): Promise<PprofServer> {
  const log = { info: () => undefined, error: () => undefined };
  const server = await createPprofServer({ host: '127.0.0.1', port, profiler, log });
  servers.push(server);
  return server;
}

/** Answers with a problem, of which this is the code. */
async function problemOf(url: string, init?: RequestInit) {
  const response = await fetch(url, init);
  expect(response.headers.get('Content-Type')).toBe('application/problem+json');
  const body = (await response.json()) as { code: string; status: number };
  expect(body.status).toBe(response.status);
  return { status: response.status, code: body.code, headers: response.headers };
}

async function profileOf(url: string): Promise<Buffer> {
  const response = await fetch(url);
  expect(response.status).toBe(200);
  return Buffer.from(await response.arrayBuffer());
}

/** What `go tool pprof -top` says of a profile; without Go, its strings. */
function readProfile(profile: Buffer): string {
  // The strings of the protocol buffer, function names among them, lie in it as they are.
  if (!hasGo) return gunzipSync(profile).toString('latin1');
  const file = join(folder, 'profile.pb.gz');
  writeFileSync(file, profile);
  return execFileSync('go', ['tool', 'pprof', '-top', file], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

function burnTheProcessor(untilMs: number): number {
  let sum = 0;
  while (performance.now() < untilMs) sum += Math.sqrt(sum + 1);
  return sum;
}

function allocateAndKeep(kept: object[]): void {
  for (let index = 0; index < 20_000; index += 1) kept.push(new Array(100).fill(index));
}

describe('profiles', () => {
  it('show where the CPU time of the asked seconds went', async () => {
    const { url } = await serve();
    const profiling = profileOf(`${url}/profile?seconds=1`);
    const finished = new AbortController();
    void profiling.finally(() => finished.abort());
    while (!finished.signal.aborted) {
      burnTheProcessor(performance.now() + 20);
      await sleep(1);
    }
    const text = readProfile(await profiling);
    expect(text).toContain('burnTheProcessor');
    expect(text).toContain('cpu');
  });

  it('show what memory is in use', async () => {
    const kept: object[] = [];
    allocateAndKeep(kept);
    const { url } = await serve();
    const text = readProfile(await profileOf(`${url}/heap`));
    expect(kept).toHaveLength(20_000);
    expect(text).toContain('allocateAndKeep');
  });
});

describe('the server of profiles', () => {
  it('takes one at a time, and ends the one whose caller went away', async () => {
    const { url } = await serve();
    const hungUp = new AbortController();
    const first = fetch(`${url}/profile?seconds=120`, { signal: hungUp.signal });
    const gone = expect(first).rejects.toThrow();
    await sleep(100);
    for (const other of ['heap', 'profile?seconds=1']) {
      const { status, code, headers } = await problemOf(`${url}/${other}`);
      expect([status, code, headers.get('Retry-After')]).toEqual([503, 'overloaded', '5']);
    }
    hungUp.abort();
    await gone;
    await expect
      .poll(async () => (await fetch(`${url}/heap`)).status, { timeout: 10_000 })
      .toBe(200);
  });

  it.each(['0', '121', '-1', '1.5', 'x', '99999', ''])('refuses %j seconds', async (seconds) => {
    const { url } = await serve();
    const problem = await problemOf(`${url}/profile?seconds=${seconds}`);
    expect([problem.status, problem.code]).toEqual([400, 'input_validation']);
  });

  it('says what there is, and refuses other paths and methods', async () => {
    const { url } = await serve();
    expect(await (await fetch(url)).text()).toContain('/debug/pprof/heap');
    expect((await problemOf(`${url}/goroutine`)).code).toBe('not_found');
    const posted = await problemOf(`${url}/heap`, { method: 'POST' });
    expect([posted.code, posted.headers.get('Allow')]).toEqual(['method_not_allowed', 'GET']);
  });

  it('says which setting to change when its port is in use', async () => {
    const port = Number(new URL((await serve()).url).port);
    await expect(serve(port)).rejects.toThrow(
      `Port ${port} on 127.0.0.1 is in use: end what uses it, or set PPROF_PORT to a free port.`,
    );
  });
});
