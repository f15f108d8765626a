import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  TemporarilyUnavailableError,
  TokenManagerClient,
} from '../../client/token-manager-client.ts';
import {
  startDemoProviderServer,
  type DemoProviderServer,
} from '../support/demo-provider-server.ts';
import { startOutageProxy, type OutageProxy } from '../support/outage-proxy.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

/** 30 for the whole length, as docs/client.md tells of. */
const outageSeconds = Number(process.env['OUTAGE_SECONDS'] ?? '8');
const cacheSeconds = outageSeconds >= 30 ? 5 : 2;
const steadySeconds = Math.max(outageSeconds, 3 * cacheSeconds);
/** A client notices at the next try; who shares a question that began in the outage shares its end. */
const noticedAfterMs = outageSeconds >= 30 ? 9_000 : 1_000;
const recoverySeconds = outageSeconds >= 30 ? 15 : 4;
const clientCount = 200;
const callEveryMs = 500;

interface Call {
  connectionId: string;
  beganAtMs: number;
  endedAtMs: number;
  failure?: unknown;
}

let stack: TestStack;
let provider: DemoProviderServer;
let proxy: OutageProxy;
let lasting: string[];
let expiring: string[];

/** A new token for the connection that lives so long. */
async function importToken(connectionId: string, expiresInSeconds: number): Promise<void> {
  const grant = await provider.createGrant(connectionId);
  const { status } = await stack.call('PUT', `/v1/connections/${connectionId}`, {
    tenant_id: 'demo',
    app_id: `demo-${new URL(provider.tokenUrl).port}`,
    ...grant,
    expires_in: expiresInSeconds,
  });
  expect(status).toBe(200);
}

beforeAll(async () => {
  [stack, provider] = await Promise.all([startTestStack(), startDemoProviderServer()]);
  proxy = await startOutageProxy(stack.origin);
  const appId = await provider.registerApp(stack);
  const ids = await provider.addConnections(stack, appId, 40);
  await Promise.all(ids.map((id) => importToken(id, 3_600)));
  [lasting, expiring] = [ids.slice(0, 30), ids.slice(30)];
}, 120_000);
afterAll(async () => {
  proxy.close();
  await stack.close();
  provider.close();
});

describe('200 clients while the gateway is away', () => {
  it(
    'ask it less than twice as often as before, and go on with the tokens at hand',
    { timeout: 180_000 },
    async () => {
      const calls: Call[] = [];
      const ending = new AbortController();
      const clients = Array.from({ length: clientCount }, () => {
        return new TokenManagerClient({ baseUrl: proxy.origin, cacheSeconds });
      });
      const callers = clients.map(async (client, index) => {
        // A quarter of the connections lose their token in the middle of the outage.
        const ids = [lasting[index % 30] ?? '', expiring[index % 10] ?? ''];
        await sleep(Math.random() * cacheSeconds * 1_000);
        const open = new Set<Promise<void>>();
        for (let turn = 0; !ending.signal.aborted; turn += 1) {
          const connectionId = ids[turn % 2] ?? '';
          const call: Call = { connectionId, beganAtMs: performance.now(), endedAtMs: Infinity };
          calls.push(call);
          const done = client
            .getToken(connectionId)
            .then(
              () => undefined,
              (error: unknown) => void (call.failure = error),
            )
            .then(() => void (call.endedAtMs = performance.now()));
          open.add(done);
          void done.then(() => open.delete(done));
          await sleep(callEveryMs * (0.5 + Math.random()));
        }
        await Promise.all(open);
      });

      await sleep(2 * cacheSeconds * 1_000);
      const steadyAtMs = performance.now();
      await sleep((steadySeconds - cacheSeconds) * 1_000);
      await Promise.all(
        expiring.map((id) => importToken(id, cacheSeconds + Math.round(outageSeconds / 2))),
      );
      await sleep(cacheSeconds * 1_000);
      const awayAtMs = performance.now();
      proxy.setAway(true);
      await sleep(outageSeconds * 1_000);
      const backAtMs = performance.now();
      proxy.setAway(false);
      await sleep(recoverySeconds * 1_000);
      ending.abort();
      await Promise.all(callers);
      const endedAtMs = performance.now();
      for (const client of clients) client.close();

      const rate = (fromMs: number, toMs: number): number =>
        proxy.arrivalsMs.filter((atMs) => atMs >= fromMs && atMs < toMs).length /
        ((toMs - fromMs) / 1_000);
      const steadyPerSecond = rate(steadyAtMs, awayAtMs);
      const awayPerSecond = rate(awayAtMs, backAtMs);
      const seconds = Array.from({ length: Math.floor(outageSeconds) }, (_, index) =>
        rate(awayAtMs + index * 1_000, awayAtMs + (index + 1) * 1_000),
      );
      const inOutage = calls.filter(
        ({ beganAtMs, endedAtMs: endMs }) => endMs >= awayAtMs && beganAtMs < backAtMs,
      );
      const withToken = inOutage.filter(({ connectionId }) => lasting.includes(connectionId));
      const slowestMs = Math.max(...withToken.map((call) => call.endedAtMs - call.beganAtMs));
      const failures = inOutage.filter(({ failure }) => failure !== undefined);
      const figures = {
        outageSeconds,
        steadyPerSecond,
        awayPerSecond,
        busiestSecond: Math.max(...seconds),
        afterPerSecond: rate(backAtMs, endedAtMs),
        callsInOutage: inOutage.length,
        heldCalls: withToken.length,
        slowestHeldMs: slowestMs,
        failedCalls: failures.length,
      };
      if (process.env['OUTAGE_SECONDS'] !== undefined) {
        process.stdout.write(`${JSON.stringify(figures)}\n`);
      }

      expect(steadyPerSecond).toBeGreaterThan(20);
      expect(awayPerSecond, JSON.stringify(figures)).toBeLessThan(2 * steadyPerSecond);
      expect(awayPerSecond).toBeGreaterThan(0);
      // Tokens that are valid go on being handed out, none late.
      expect(withToken.length).toBeGreaterThan(1_000);
      expect(withToken.filter(({ failure }) => failure !== undefined)).toEqual([]);
      // What has expired is waited for; who waits beyond the deadline hears that it passes.
      for (const { failure } of failures) {
        expect(failure).toBeInstanceOf(TemporarilyUnavailableError);
      }
      const after = calls.filter(({ beganAtMs }) => beganAtMs > backAtMs + noticedAfterMs);
      expect(after.length).toBeGreaterThan(100);
      expect(after.filter(({ failure }) => failure !== undefined)).toEqual([]);
      expect(provider.stats().total.reuse).toBe(0);
    },
  );
});
