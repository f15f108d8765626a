import type { AppLimits } from './app.ts';

/** How much one app may send, over all its connections and replicas. */
export interface AppSendLimits {
  /** So many sends in any stretch of so many seconds; the count at most `windowCountMax`. */
  perWindow: { count: number; seconds: number } | null;
  /** Sends under way at once at one host; at most `concurrencyMax`. */
  concurrency: number | null;
}

/**
 * What holds for the sends of an app: its own limits, and the concurrency that the provider's definition
 * allows one app and host. Windows in a definition are for one refresh token and no concern of the gate.
 */
export function appSendLimits(
  limits: AppLimits,
  definition: { concurrency: number | null },
): AppSendLimits {
  const concurrency = [limits.concurrency, definition.concurrency].filter((limit) => limit != null);
  return {
    perWindow: limits.per_window ?? null,
    concurrency: concurrency.length === 0 ? null : Math.min(...concurrency),
  };
}

export interface GateRequest {
  appId: string;
  /** Host and port of the token endpoint. */
  host: string;
  connectionId: string;
  /** The claim (a UUID) that this send will have. */
  claimId: string;
  /** After this a send that never left is forgotten. */
  leaseMs: number;
  limits: AppSendLimits;
  /** A class T replay inside its grace: nothing but a paused app holds it, for waiting loses the grant. */
  isUrgent: boolean;
}

/** A send that may go; hand it to `leave` when it has ended. */
export interface GateEntry {
  appId: string;
  connectionId: string;
  claimId: string;
  /** Null: an urgent send of an app without a gate. */
  gateId: string | null;
  /** The app's client was accepted lately, so one refusal says little. */
  isProven: boolean;
  isLeased: boolean;
  /** Whether a success tells the gate anything it did not know when this send entered. */
  isSuccessNews: boolean;
  /** The database's clock, as text to the microsecond. */
  enteredAt: string;
}

/** A gate that lets any send of its app pass that no limit counts, as it was read. */
export interface OpenGate {
  id: string;
  host: string;
  isSuccessNews: boolean;
  /** The database's clock, as text to the microsecond. */
  readAt: string;
}

/** Enters by what was read already; undefined where the gate itself has to be asked. */
export function passOpenGate(gate: OpenGate | null, request: GateRequest): GateEntry | undefined {
  const { appId, connectionId, claimId, limits } = request;
  if (gate?.host !== request.host) return undefined;
  if (limits.perWindow !== null || limits.concurrency !== null) return undefined;
  return {
    appId,
    connectionId,
    claimId,
    gateId: gate.id,
    isProven: true,
    isLeased: false,
    isSuccessNews: gate.isSuccessNews,
    enteredAt: gate.readAt,
  };
}

/** What a gate may be closed for. */
export type GateReason = 'rate_limited' | 'provider_unavailable' | 'app_misconfigured';

export type GateAnswer =
  | { kind: 'open'; entry: GateEntry }
  /** `busy`: somebody else's send comes first. */
  | { kind: 'wait'; afterMs: number; reason: GateReason | 'busy' }
  | { kind: 'app_paused' };

export type GateEnd =
  /** Also any complete answer that proves the client was accepted, such as `invalid_grant`. */
  | { kind: 'succeeded' }
  /** `pausesApp`: false where the host is the customer's own, which must not stop everybody. */
  | { kind: 'misconfigured'; code: string; pausesApp: boolean }
  | { kind: 'rate_limited'; retryAfterMs: number }
  /** `retryAfterMs`: what the provider asked for, if it did. */
  | { kind: 'unavailable'; retryAfterMs: number | null }
  /** Nothing left the process: its place is given back. */
  | { kind: 'unsent' };

/** Decides for every send of an app, in all replicas together. Both may throw `store_unavailable`. */
export interface AppGates {
  /** May this exchange send now? */
  enter(request: GateRequest): Promise<GateAnswer>;
  /** How it ended. Idempotent; does nothing once the app's credentials were changed. */
  leave(entry: GateEntry, end: GateEnd): Promise<void>;
}

export const windowCountMax = 1_000;
export const concurrencyMax = 1_000;
