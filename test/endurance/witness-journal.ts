import { createHash } from 'node:crypto';
import type { ProviderFault } from './chaos-schedule.ts';

/** Tokens as the journal names them: enough to tell them apart, of no use to anybody. */
export function tokenName(token: string): string {
  return createHash('sha256').update(token).digest('hex').slice(0, 16);
}

export interface IssuedTokens {
  accessToken: string;
  refreshToken: string;
  /** Epoch, in milliseconds, as all times here. */
  expiresAtMs: number;
}

/**
 * What became of an answer: `answered` (written to a connection that was open), `cut` (the fault
 * dropped, replaced or truncated it), `gone` (the client had closed the connection).
 */
export type Delivery = 'answered' | 'cut' | 'gone';

export interface GrantEntry {
  kind: 'grant';
  connectionId: string;
  atMs: number;
  issued: IssuedTokens;
}

/** One token request. */
export interface SendEntry {
  kind: 'send';
  connectionId: string;
  refreshToken: string;
  /** It had been exchanged before, and another was issued for it. */
  wasSpent: boolean;
  arrivedAtMs: number;
  endedAtMs: number;
  /** Of the authorization server; null if the fault kept the request from it. */
  status: number | null;
  error: string | null;
  issued: IssuedTokens | null;
  fault: ProviderFault | null;
  delivery: Delivery;
}

/** One probe (RFC 7662). */
export interface ProbeEntry {
  kind: 'probe';
  connectionId: string;
  refreshToken: string;
  atMs: number;
  isActive: boolean | null;
}

export type JournalEntry = GrantEntry | SendEntry | ProbeEntry;
