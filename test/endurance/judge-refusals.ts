import { overlaps } from './away-windows.ts';
import type { CallRecord } from './callers.ts';
import type { ConnectionEvidence, Evidence } from './evidence.ts';

/** Clocks of several processes and the time that an answer takes to be written. */
const slackMs = 500;
/** So long the gateway keeps a token for when PostgreSQL is away. */
const staleMs = 300_000;
/** PostgreSQL answers again before every pool has noticed. */
const storeReturnMs = 5_000;

export interface Refusal {
  call: CallRecord;
  validUntilMs: number;
}

/**
 * Plain reads that were refused although the stored token was valid all the while. A gateway that
 * cannot read the token because PostgreSQL is away, and has not handed it out before, may say so.
 */
export function judgeRefusals(
  evidence: Evidence,
  sorted: Map<string, ConnectionEvidence>,
): Refusal[] {
  const refused = evidence.calls.filter(
    ({ kind, status }) => kind === 'plain' && status !== 200 && status !== 0,
  );
  const served = servedBy(evidence.calls);
  return refused.flatMap((call) => {
    const stored = sorted
      .get(call.connectionId)
      ?.states.findLast(({ atMs }) => atMs + slackMs <= call.startedAtMs);
    if (stored?.expiresAtMs == null || stored.expiresAtMs - slackMs <= call.endedAtMs) return [];
    if (call.code === 'store_unavailable' && isCold(evidence, call, stored.tokenVersion, served)) {
      return [];
    }
    return [{ call, validUntilMs: stored.expiresAtMs }];
  });
}

function isCold(
  evidence: Evidence,
  call: CallRecord,
  version: number,
  served: Map<string, number>,
): boolean {
  const around = { fromMs: call.startedAtMs - storeReturnMs, untilMs: call.endedAtMs };
  if (!overlaps(evidence.postgresAway, around)) return false;
  const servedAtMs = served.get(servedKey(call.gateway, call.connectionId, version));
  return servedAtMs === undefined || servedAtMs < call.startedAtMs - staleMs;
}

/** When each process handed out each version first: after that it has it in memory. */
function servedBy(calls: readonly CallRecord[]): Map<string, number> {
  const served = new Map<string, number>();
  for (const { gateway, connectionId, token, endedAtMs } of calls) {
    if (token === null) continue;
    const key = servedKey(gateway, connectionId, token.version);
    served.set(key, Math.min(served.get(key) ?? Infinity, endedAtMs));
  }
  return served;
}

function servedKey(gateway: string, connectionId: string, version: number): string {
  return `${gateway} ${connectionId} ${version}`;
}
