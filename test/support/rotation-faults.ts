import { z } from 'zod';
import type { Fault, ProxiedRequest } from './fault-proxy.ts';

/** Bytes of a truncated token answer: enough to begin the JSON, too few for a token. */
const truncateAtBytes = 20;

/** What may happen to a token request; those that say "answer" only after the exchange has happened. */
const faultNames = [
  'drop_request',
  'drop_answer',
  'reset_answer',
  'bad_gateway_answer',
  'truncate_answer',
  'unavailable',
  'rate_limited',
] as const;
export type FaultName = (typeof faultNames)[number];

export const faultSettingsSchema = z.strictObject({
  /** How long each answer is held back after the exchange. */
  delay_ms: z.number().min(0).default(0),
  /** Of each fault, for each token request; together at most 1. */
  probability: z.partialRecord(z.enum(faultNames), z.number().min(0).max(1)).default({}),
  /** Faults of the next token requests, in this order, before any by probability. */
  next: z.array(z.enum(faultNames)).default([]),
  /** What `unavailable` and `rate_limited` send; null: no such header. */
  retry_after_seconds: z.int().min(0).nullable().default(null),
});
export type FaultSettings = z.output<typeof faultSettingsSchema>;

/** Chooses a fault for each token request as the settings say; everything else passes. */
export function createFaultChooser(random: () => number) {
  let settings = faultSettingsSchema.parse({});
  return {
    set(to: FaultSettings): void {
      settings = { ...to, next: [...to.next] };
    },
    delayMs: (): number => settings.delay_ms,
    choose({ path }: ProxiedRequest): Fault | undefined {
      if (path !== '/token') return undefined;
      const next = settings.next.shift();
      if (next !== undefined) return toFault(next, settings.retry_after_seconds);
      let share = random();
      for (const name of faultNames) {
        share -= settings.probability[name] ?? 0;
        if (share < 0) return toFault(name, settings.retry_after_seconds);
      }
      return undefined;
    },
  };
}

function toFault(name: FaultName, retryAfterSeconds: number | null): Fault {
  const headers: Record<string, string> =
    retryAfterSeconds === null ? {} : { 'retry-after': String(retryAfterSeconds) };
  switch (name) {
    case 'drop_request':
      return { kind: 'drop', when: 'before' };
    case 'drop_answer':
      return { kind: 'drop', when: 'after' };
    case 'reset_answer':
      return { kind: 'reset', when: 'after' };
    case 'bad_gateway_answer':
      return { kind: 'bad_gateway', when: 'after' };
    case 'truncate_answer':
      return { kind: 'truncate', atBytes: truncateAtBytes };
    case 'unavailable':
      return { kind: 'answer', when: 'before', status: 503, headers };
    case 'rate_limited':
      return { kind: 'answer', when: 'before', status: 429, headers };
  }
}
