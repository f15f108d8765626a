import { overlaps, type AwayWindow } from './away-windows.ts';
import type { CallRecord } from './callers.ts';
import type { Strike } from './conduct-chaos.ts';
import type { EnduranceConnection } from './connection-mix.ts';
import type { AuditTrail, AttemptRecord, ClaimRecord, StateRecord } from './database-audit.ts';
import type { RotationLedger } from '../support/rotation-families.ts';
import type { Life } from './service-slot.ts';
import type { GrantEntry, JournalEntry, ProbeEntry, SendEntry } from './witness-journal.ts';

/** Between a claim and the arrival of its request: the product allows 2 s, the machine some more. */
const claimToArrivalMs = 5_000;
/** An answer that came so long before its process died may not have been stored yet. */
const inHandMs = 3_000;
/** And so long with PostgreSQL away, until the tokens lie sealed in Temporal. */
const inHandStoreAwayMs = 12_000;

/** Everything that the run, the authorization server and the database know. */
export interface Evidence {
  connections: readonly EnduranceConnection[];
  calls: readonly CallRecord[];
  journal: readonly JournalEntry[];
  trail: AuditTrail;
  /** The authorization server's own count. */
  providerLedger: RotationLedger['connections'];
  lives: readonly Life[];
  strikes: readonly Strike[];
  postgresAway: readonly AwayWindow[];
  temporalAway: readonly AwayWindow[];
}

/** The evidence of one connection, each list in the order of time. */
export interface ConnectionEvidence {
  connection: EnduranceConnection;
  grants: GrantEntry[];
  sends: SendEntry[];
  probes: ProbeEntry[];
  claims: ClaimRecord[];
  states: StateRecord[];
  attempts: AttemptRecord[];
}

export function sortEvidence(evidence: Evidence): Map<string, ConnectionEvidence> {
  const sorted = new Map<string, ConnectionEvidence>();
  for (const connection of evidence.connections) {
    sorted.set(connection.id, {
      connection,
      grants: [],
      sends: [],
      probes: [],
      claims: [],
      states: [],
      attempts: [],
    });
  }
  for (const entry of evidence.journal) {
    const of = sorted.get(entry.connectionId);
    if (entry.kind === 'grant') of?.grants.push(entry);
    else if (entry.kind === 'send') of?.sends.push(entry);
    else of?.probes.push(entry);
  }
  for (const claim of evidence.trail.claims) sorted.get(claim.connectionId)?.claims.push(claim);
  for (const state of evidence.trail.states) sorted.get(state.connectionId)?.states.push(state);
  for (const each of evidence.trail.attempts) sorted.get(each.connectionId)?.attempts.push(each);
  for (const each of sorted.values()) each.sends.sort((a, b) => a.arrivedAtMs - b.arrivedAtMs);
  return sorted;
}

/** The claim that a token request was sent on. */
export function claimOf(
  { claims }: ConnectionEvidence,
  { arrivedAtMs }: SendEntry,
): ClaimRecord | undefined {
  return claims.findLast(
    ({ sentAtMs }) => sentAtMs <= arrivedAtMs && sentAtMs >= arrivedAtMs - claimToArrivalMs,
  );
}

/** What became of an answer, in words that many share, and the facts of this one. */
export interface Excuse {
  because: string;
  detail: string;
}

/**
 * Why the tokens of this answer could be with nobody: it was cut off, or its process died before it can
 * have stored them, or stood still until another took the claim over. Null: they were in good hands.
 */
export function whyLost(
  evidence: Evidence,
  of: ConnectionEvidence,
  send: SendEntry,
): Excuse | null {
  const claim = claimOf(of, send);
  const process = claim?.process ?? 'unknown';
  if (send.delivery === 'cut') {
    return { because: `the answer was lost (${send.fault ?? 'unknown'})`, detail: process };
  }
  const life = evidence.lives.find(({ name }) => name === claim?.process);
  const endedAtMs = life?.endedAtMs ?? Infinity;
  if (send.delivery === 'gone') {
    const because =
      endedAtMs < send.endedAtMs
        ? 'its process was killed before the answer came'
        : 'the answer came after the deadline';
    return { because, detail: process };
  }
  if (life === undefined || claim === undefined) return null;
  const between = { fromMs: send.endedAtMs, untilMs: endedAtMs };
  const storeAway = overlaps(evidence.postgresAway, between);
  const bothAway = storeAway && overlaps(evidence.temporalAway, between);
  const inHand = bothAway ? Infinity : storeAway ? inHandStoreAwayMs : inHandMs;
  if (Number.isFinite(endedAtMs) && endedAtMs - send.endedAtMs <= inHand) {
    return {
      because: 'its process was killed with the answer in hand',
      detail: `${process} ${seconds(endedAtMs - send.endedAtMs)} after it`,
    };
  }
  const stop = life.stops.find(
    ({ fromMs, untilMs }) => fromMs <= send.endedAtMs + inHandMs && untilMs >= claim.answerByMs,
  );
  if (stop === undefined) return null;
  return { because: 'its process stood still until after answer_by', detail: process };
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
