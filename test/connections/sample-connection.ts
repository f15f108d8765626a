import type { Connection, RecordedFailure } from '../../connections/connection.ts';
import type { ExchangeSubject, RefreshIntent } from '../../connections/exchange.ts';

/** When every sample below was read. */
export const readAt = new Date('2026-11-23T12:00:00.000Z');

export function secondsLater(seconds: number): Date {
  return new Date(readAt.getTime() + 1_000 * seconds);
}

/** Neither is the app paused nor the gate of its host closed. */
const noAppTrouble = {
  pausedReason: null,
  pausedUntil: null,
  closedUntil: null,
  closedReason: null,
};

/** Active, its token of an hour fresh for half an hour more. */
export function sampleConnection(members: Partial<Connection> = {}): Connection {
  return {
    id: 'c1',
    tenantId: 't1',
    appId: 'a1',
    provider: 'generic',
    generation: 3,
    tokenVersion: 7,
    credential: 'refresh_token',
    rotationClass: 'F',
    hasAccessToken: true,
    hasRefreshToken: true,
    hasDpopKey: false,
    tokenType: 'Bearer',
    scope: null,
    expiresAt: secondsLater(1_800),
    lifetimeSeconds: 3_600,
    expiryAssumed: false,
    refreshDueAt: secondsLater(1_500),
    nextAttemptAt: null,
    lastRefreshedAt: null,
    failure: null,
    verdict: null,
    probeRequestedAt: null,
    uncertainSince: null,
    pausedAt: null,
    deletedAt: null,
    app: noAppTrouble,
    forcedSends: [],
    variables: {},
    metadata: {},
    createdAt: readAt,
    updatedAt: readAt,
    readAt,
    ...members,
  };
}

export function sampleFailure(members: Partial<RecordedFailure> = {}): RecordedFailure {
  return { class: 'transient', code: 'http_503', at: readAt, count: 1, ...members };
}

export function sampleIntent(members: Partial<RefreshIntent> = {}): RefreshIntent {
  return {
    generation: 3,
    attempt: 5,
    claimId: 'claim-1',
    replays: 0,
    workflowRunId: 'run-1',
    firstSentAt: secondsLater(-90),
    answerBy: secondsLater(-1),
    late: null,
    ...members,
  };
}

export function sampleSubject(
  connection: Partial<Connection>,
  others: { intent?: RefreshIntent | null; paused?: Partial<ExchangeSubject['app']> } = {},
): ExchangeSubject {
  const { intent = null, paused = {} } = others;
  return {
    connection: sampleConnection(connection),
    attempt: 5,
    sealedAccessToken: null,
    sealedRefreshToken: null,
    sealedDpopKey: null,
    lastSentAt: null,
    recentSends: [],
    refreshTokenExpiresAt: null,
    app: {
      id: 'a1',
      provider: 'generic',
      clientId: 'client',
      generation: 1,
      sealedClientSecrets: null,
      overrides: {},
      limits: {},
      pausedReason: null,
      pausedUntil: null,
      ...paused,
    },
    intent,
    openGate: null,
  };
}
