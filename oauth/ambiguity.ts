import type { Rotation } from './rotation.ts';

/** A refresh token is sent again without a complete answer this often, and then counts as lost. */
export const replaysMax = 3;
/** A careful replay puts the access token that is still served at risk, so it waits until here. */
const beforeExpiryMs = 60_000;

/** What a definition says of an ambiguous attempt beside its rotation class. */
export interface AmbiguityRules {
  /** `never_replay`: a spent token is never sent again; what the access token is worth is all there is. */
  policy: 'by_class' | 'never_replay';
}

/** What the authorization server said of the refresh token, if it can be asked (RFC 7662). */
export type ProbeState = 'offered' | 'active' | 'inactive' | 'unknown' | 'none';

/** What is known of an ambiguous attempt when its end is decided. */
export interface AmbiguityFacts {
  /** Sends after the first that ended without a complete answer. */
  replays: number;
  /** Class T: a replay that begins now is answered within the grace. */
  isInsideGrace: boolean;
  /** Until the stored access token expires; null if it never does, 0 or less if it has. */
  accessTokenEndsInMs: number | null;
  /** A provider's API has refused the stored access token, says a caller. */
  isRejected: boolean;
  probe: ProbeState;
}

export type AmbiguityDecision =
  /** Send the same refresh token again. */
  | { kind: 'replay' }
  /** Ask the authorization server whether the refresh token still lives. */
  | { kind: 'probe' }
  /** Serve the access token meanwhile; null: for as long as nobody refuses it. */
  | { kind: 'wait'; forMs: number | null }
  /** The provider has moved on, and its answer reached nobody. */
  | { kind: 'lost' };

/**
 * After "sent, no usable answer": what a provider of this rotation class forgives. Where the old token
 * keeps working until the new one is used (C), within its grace (T), or for good (S, L), a replay is
 * harmless. Where it is single use (X) a replay costs nothing: without it the grant is lost anyway. Where
 * a replay ends the whole grant (F, and T beyond its grace) it comes last.
 */
export function decideAmbiguity(
  rotation: Rotation,
  { policy }: AmbiguityRules,
  facts: AmbiguityFacts,
): AmbiguityDecision {
  switch (rotation.class) {
    case 'S':
    case 'L':
    case 'C':
      return { kind: 'replay' };
    case 'T':
      return facts.isInsideGrace ? { kind: 'replay' } : decideCarefully(rotation, policy, facts);
    case 'X':
      if (policy === 'never_replay') return decideCarefully(rotation, policy, facts);
      return { kind: facts.replays < replaysMax ? 'replay' : 'lost' };
    case 'F':
      return decideCarefully(rotation, policy, facts);
  }
}

function decideCarefully(
  rotation: Rotation,
  policy: AmbiguityRules['policy'],
  facts: AmbiguityFacts,
): AmbiguityDecision {
  const { probe, accessTokenEndsInMs: endsInMs } = facts;
  if (facts.replays >= replaysMax || probe === 'inactive') return { kind: 'lost' };
  if (probe === 'offered') return { kind: 'probe' };
  if (probe === 'active') return { kind: 'replay' };
  const hasExpired = endsInMs !== null && endsInMs <= 0;
  if (policy === 'never_replay') {
    return hasExpired ? { kind: 'lost' } : { kind: 'wait', forMs: endsInMs };
  }
  if (hasExpired || rotation.oldAccessTokenDies || facts.isRejected) return { kind: 'replay' };
  if (endsInMs === null) return { kind: 'wait', forMs: null };
  return endsInMs <= beforeExpiryMs
    ? { kind: 'replay' }
    : { kind: 'wait', forMs: endsInMs - beforeExpiryMs };
}

/**
 * Does a replay that ends without a complete answer count against `replaysMax`? Not where the class
 * forgives any number of them.
 */
export function isReplayCounted(rotation: Rotation, isInsideGrace: boolean): boolean {
  switch (rotation.class) {
    case 'S':
    case 'L':
    case 'C':
      return false;
    case 'T':
      return !isInsideGrace;
    case 'X':
    case 'F':
      return true;
  }
}

/**
 * A refused replay says that the first send was carried out and its answer lost. Not where the old token
 * lives on whatever became of the answer: there the customer has ended the grant.
 */
export function isRefusedReplayLost(rotation: Rotation): boolean {
  return rotation.class === 'T' || rotation.class === 'X' || rotation.class === 'F';
}
