import { LRUCache } from 'lru-cache';
import type { GateEntry } from '../connections/app-gate.ts';
import type { Claim, ExchangeSubject } from '../connections/exchange.ts';
import type { Failure } from '../oauth/failure-class.ts';

const appsMax = 10_000;
/** The client was refused before anybody looked at the grant (RFC 6749 §5.2), in the words of providers. */
const clientRefusals = new Set([
  'invalid_client',
  'incorrect_client_credentials',
  'bad_client_secret',
  'invalid_client_secret',
]);

/** A further send in the same Activity, with a claim of its own, because nothing was spent. */
export interface FollowUp {
  kind: 'follow_up';
  /** The attempt whose ambiguity stands; null where there is none. */
  replayOf: number | null;
  /** How many of the app's client secrets were refused. */
  secretsTried: number;
  /** The server demanded a nonce for DPoP and was given one (RFC 9449 §8). */
  hasNonce: boolean;
  /** The gate was passed once, for both. */
  entry: GateEntry;
}

/**
 * Whether to send again at once: with the app's next client secret after the one before was refused, or
 * with the nonce that the server demanded. Both answers come before the refresh token is looked at.
 */
export function followUpAfter(
  { replay, followUp }: { replay: object | null; followUp: FollowUp | null },
  ended: {
    prepared: { secretCount: number };
    judgement: Failure;
    claim: Claim;
    entry: GateEntry;
  },
): FollowUp | null {
  const { prepared, judgement, claim, entry } = ended;
  const { secretsTried = 0, hasNonce = false } = followUp ?? {};
  const next: FollowUp = {
    kind: 'follow_up',
    replayOf: replay === null ? null : claim.attempt,
    secretsTried,
    hasNonce,
    entry,
  };
  if (judgement.code === 'use_dpop_nonce' && !hasNonce) return { ...next, hasNonce: true };
  const isRefused = judgement.class === 'misconfigured' && clientRefusals.has(judgement.code);
  if (!isRefused || secretsTried + 1 >= prepared.secretCount) return null;
  return { ...next, secretsTried: secretsTried + 1 };
}

type AppVersion = Pick<ExchangeSubject['app'], 'id' | 'generation'>;

/** Which client secret of an app worked last: it is tried first, and the others in their order. */
export interface ClientSecretOrder {
  /** The place in the list of the secret to try after so many were refused. */
  index(app: AppVersion, secretsTried: number, count: number): number;
  worked(app: AppVersion, index: number): void;
}

export function createClientSecretOrder(): ClientSecretOrder {
  const lastWorked = new LRUCache<string, number>({ max: appsMax });
  const keyOf = ({ id, generation }: AppVersion): string => `${id} ${generation}`;
  return {
    index(app, secretsTried, count) {
      const first = lastWorked.get(keyOf(app)) ?? 0;
      const order = [
        first,
        ...Array.from({ length: count }, (_, at) => at).filter((at) => at !== first),
      ];
      return order[secretsTried] ?? 0;
    },
    worked(app, index) {
      lastWorked.set(keyOf(app), index);
    },
  };
}
