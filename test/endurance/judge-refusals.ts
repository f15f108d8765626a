import type { CallRecord } from './callers.ts';
import type { StateRecord } from './database-audit.ts';
import type { ConnectionEvidence, Evidence } from './evidence.ts';

/** Clocks of several processes and the time that an answer takes to be written. */
const slackMs = 500;
/** So long the gateway keeps a token for when PostgreSQL is away. */
const staleMs = 300_000;
/**
 * A token that is read this soon after it was stored may be forgotten by the notice of just that: the
 * notice comes over another connection, and neither of two starved processes is in a hurry.
 */
const noticeMs = 3_000;

export interface Refusal {
  call: CallRecord;
  validUntilMs: number;
  /** When the token was stored, and the newest read that should have left it in memory. */
  storedAtMs: number;
  readBefore: CallRecord | null;
}

/**
 * Plain reads that were refused although the stored token was valid all the while. A gateway that
 * cannot read the token because PostgreSQL is away or too slow, and does not have it in memory, may say
 * so; one that has it may not.
 */
export function judgeRefusals(
  evidence: Evidence,
  sorted: Map<string, ConnectionEvidence>,
): Refusal[] {
  const refused = evidence.calls.filter(
    ({ kind, status }) => kind === 'plain' && status !== 200 && status !== 0,
  );
  const reads = readsOf(evidence.calls);
  return refused.flatMap((call) => {
    const states = sorted.get(call.connectionId)?.states ?? [];
    const stored = states.findLast(({ atMs }) => atMs + slackMs <= call.startedAtMs);
    if (stored?.expiresAtMs == null || stored.expiresAtMs - slackMs <= call.endedAtMs) return [];
    const readBefore = readIntoMemory(call, stored, reads) ?? null;
    const isExcused = readBefore === null || isOvertaken(call, stored, states);
    if (call.code === 'store_unavailable' && isExcused) return [];
    return [{ call, validUntilMs: stored.expiresAtMs, storedAtMs: stored.atMs, readBefore }];
  });
}

/** The newest read by which this process has the token in memory; without one it does not have it. */
function readIntoMemory(
  call: CallRecord,
  stored: StateRecord,
  reads: Map<string, CallRecord[]>,
): CallRecord | undefined {
  return reads
    .get(readKey(call))
    ?.findLast(
      ({ token, startedAtMs, endedAtMs }) =>
        token?.version === stored.tokenVersion &&
        startedAtMs > stored.atMs + noticeMs &&
        startedAtMs > call.startedAtMs - staleMs &&
        endedAtMs < call.startedAtMs,
    );
}

/** A newer token was stored before the call ended: its notice takes the older one out of memory. */
function isOvertaken(call: CallRecord, stored: StateRecord, states: readonly StateRecord[]) {
  return states.some(
    ({ atMs, tokenVersion }) =>
      tokenVersion > stored.tokenVersion && atMs <= call.endedAtMs + slackMs,
  );
}

/** Reads by GET, which leave what they find in the memory of the process. */
function readsOf(calls: readonly CallRecord[]): Map<string, CallRecord[]> {
  const reads = new Map<string, CallRecord[]>();
  for (const call of calls) {
    if (call.token === null || call.kind === 'force' || call.kind === 'rejected') continue;
    const before = reads.get(readKey(call));
    if (before === undefined) reads.set(readKey(call), [call]);
    else before.push(call);
  }
  return reads;
}

function readKey({ gateway, connectionId }: CallRecord): string {
  return `${gateway} ${connectionId}`;
}
