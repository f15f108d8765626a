import { overlaps } from './away-windows.ts';
import type { CallRecord } from './callers.ts';
import type { Strike } from './conduct-chaos.ts';

export interface LatencySummary {
  reads: number;
  p50Ms: number;
  p99Ms: number;
  worstMs: number;
}

/** Answers whose token was there when it was asked for, by whether anything was broken meanwhile. */
export function summariseReads(
  calls: readonly CallRecord[],
  strikes: readonly Strike[],
): { calm: LatencySummary; chaos: LatencySummary } {
  const reads = calls.filter(
    ({ kind, token }) =>
      token !== null && !token.refreshed && (kind === 'plain' || kind === 'known'),
  );
  return {
    calm: summarise(reads.filter((call) => !isDuring(call, strikes))),
    chaos: summarise(reads.filter((call) => isDuring(call, strikes))),
  };
}

/** Something was broken at some time between the call and its answer. */
export function isDuring(
  { startedAtMs, endedAtMs }: CallRecord,
  strikes: readonly Strike[],
): boolean {
  return overlaps(strikes, { fromMs: startedAtMs, untilMs: endedAtMs });
}

function summarise(calls: readonly CallRecord[]): LatencySummary {
  const sorted = calls.map((call) => call.endedAtMs - call.startedAtMs).toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? 0;
  return { reads: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), worstMs: at(1) };
}
