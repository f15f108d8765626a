import { describe, expect, it } from 'vitest';
import { TokenManagerError } from '../../client/contract.ts';
import type { Connection } from '../../connections/connection.ts';
import { refreshObstacle } from '../../connections/refresh-obstacle.ts';
import {
  call,
  connectionRow,
  createFakeGateway,
  expired,
  secondsFromStart,
  settle,
  startsAt,
} from '../gateway/gateway-fakes.ts';

type AppStanding = Connection['app'];
const free: AppStanding = {
  pausedReason: null,
  pausedUntil: null,
  closedUntil: null,
  closedReason: null,
};
const paused = { ...free, pausedReason: 'invalid_client' };
function closed(closedReason: NonNullable<AppStanding['closedReason']>, seconds = 30): AppStanding {
  return { ...free, closedReason, closedUntil: secondsFromStart(seconds) };
}
const limited = {
  failure: { class: 'transient', code: 'http_503', at: startsAt, count: 1 },
  nextAttemptAt: secondsFromStart(40),
} as const;
const uncertain = { uncertainSince: startsAt, refreshDueAt: startsAt, rotationClass: 'S' } as const;

describe('what stands between a connection and a refresh', () => {
  it.each<[string, Partial<Connection>, string | undefined, number | undefined]>([
    ['nothing', {}, undefined, undefined],
    ['a paused app', { app: paused }, 'app_misconfigured', undefined],
    [
      'a paused app, before the connection’s own wait',
      { app: paused, ...limited },
      'app_misconfigured',
      undefined,
    ],
    [
      'an app paused for a while yet',
      { app: { ...paused, pausedUntil: secondsFromStart(1) } },
      'app_misconfigured',
      undefined,
    ],
    [
      'nothing once the pause is over: one probe may go',
      { app: { ...paused, pausedUntil: startsAt } },
      undefined,
      undefined,
    ],
    ['a limited host', { app: closed('rate_limited') }, 'provider_rate_limited', 30],
    ['a host that is away', { app: closed('provider_unavailable') }, 'provider_unavailable', 30],
    [
      'a host that refuses the app',
      { app: closed('app_misconfigured') },
      'app_misconfigured',
      undefined,
    ],
    ['nothing once the gate is open', { app: closed('rate_limited', 0) }, undefined, undefined],
    [
      'its own wait where that is longer',
      { app: closed('rate_limited'), ...limited },
      'provider_unavailable',
      40,
    ],
    [
      'the gate where that is closed longer',
      { app: closed('rate_limited', 50), ...limited },
      'provider_rate_limited',
      50,
    ],
    ['nothing for an uncertainty that may be resolved', uncertain, undefined, undefined],
    [
      'a closed gate for an uncertainty',
      { ...uncertain, app: closed('rate_limited') },
      'refresh_uncertain',
      30,
    ],
    [
      'the verdict first',
      { app: paused, verdict: 'revoked' },
      'reauthorization_required',
      undefined,
    ],
    [
      'the connection’s own pause first',
      { app: paused, pausedAt: startsAt },
      'connection_paused',
      undefined,
    ],
  ])('%s', (_name, members, code, retryAfterSeconds) => {
    const obstacle = refreshObstacle(connectionRow(members), startsAt);
    expect(obstacle?.code).toBe(code);
    expect(obstacle?.retryAfterSeconds).toBe(retryAfterSeconds);
    if (obstacle !== undefined) expect(obstacle).toBeInstanceOf(TokenManagerError);
  });
});

describe('a connection whose app or host is in trouble', () => {
  it.each([
    ['paused app', paused, 409, 'app_misconfigured', 'app_misconfigured', null],
    ['limited host', closed('rate_limited'), 503, 'provider_rate_limited', 'rate_limited', 30],
    [
      'host that is away',
      closed('provider_unavailable'),
      503,
      'provider_unavailable',
      'provider_unavailable',
      30,
    ],
  ])(
    '%s: is told so at once and starts no run',
    async (_name, app, status, code, reason, after) => {
      const row = connectionRow({ ...expired, app });
      const fake = createFakeGateway({ row });
      const answer = await call(fake.app, 'GET', '/v1/connections/c1/token');
      expect([answer.status, answer.json['code']]).toEqual([status, code]);
      if (after !== null) {
        const seconds = Number(answer.headers.get('Retry-After'));
        expect(seconds).toBeGreaterThan(0);
        expect(seconds).toBeLessThanOrEqual(after);
      }
      expect(answer.json['remedy']).not.toBe('reauthorize');
      expect(fake.engine.calls).toEqual([]);
      expect((await call(fake.app, 'GET', '/v1/connections/c1')).json).toMatchObject({
        status: 'active',
        reason,
      });
    },
  );

  it('serves a valid token, and is not refreshed behind', async () => {
    const due = { refreshDueAt: secondsFromStart(-1) };
    const held = createFakeGateway({ row: connectionRow({ ...due, app: closed('rate_limited') }) });
    expect((await call(held.app, 'GET', '/v1/connections/c1/token')).status).toBe(200);
    await settle();
    expect(held.engine.calls).toEqual([]);
    const open = createFakeGateway({ row: connectionRow(due) });
    await call(open.app, 'GET', '/v1/connections/c1/token');
    await settle();
    expect(open.engine.calls).toHaveLength(1);
  });
});
