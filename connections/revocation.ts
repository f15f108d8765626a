import type { ExchangeSubject, RefreshIntent } from './exchange.ts';
import type { SealedValue } from './token-vault.ts';

/** After so long a token that the provider does not take is given up. */
export const giveUpDays = 7;

/** A token that is to be revoked at its provider. */
export interface PendingToken {
  id: string;
  kind: 'refresh_token' | 'access_token';
  /** Sealed as a token of the connection, for `generation`. */
  sealed: Buffer;
  generation: number;
  /** Tries so far. */
  attempts: number;
  /** Until its next try, in milliseconds; 0 or less: now. */
  dueInMs: number;
  /** The provider took it already, but it is still needed to end an exchange with. */
  isRevoked: boolean;
}

/** What is known of a disconnect, read in one statement. */
export interface RevocationSubject {
  connectionId: string;
  tenantId: string;
  variables: Record<string, string>;
  tokens: PendingToken[];
  /** Null: it was deleted meanwhile. */
  app: Omit<ExchangeSubject['app'], 'limits' | 'pausedReason' | 'pausedUntil'> | null;
  sealedDpopKey: Buffer | null;
  scope: string | null;
  /** An exchange whose answer may still come, or came to nobody, of the generation that was ended. */
  intent: RefreshIntent | null;
  /** Since the DELETE, in milliseconds. */
  ageMs: number;
  /** The database's clock. */
  readAt: Date;
}

/** Why a token could not be revoked yet. */
export interface RevocationFailure {
  code: string;
  /** Until the next try, in milliseconds. */
  retryAfterMs: number;
}

/** Tokens that arrived after the connection was deleted. */
export interface LateTokens {
  connectionId: string;
  /** Of the exchange; the tokens are sealed for the next one. */
  generation: number;
  /** The attempt that they came with; its intent is done with. Null: the intent stays. */
  attempt: number | null;
  refreshToken: SealedValue | null;
  refreshFingerprint: Buffer | null;
  accessToken: SealedValue | null;
}

/** Statements of a disconnect after its DELETE. All throw `store_unavailable`. */
export interface RevocationStore {
  /** Undefined: nothing is left to do. */
  load(connectionId: string): Promise<RevocationSubject | undefined>;
  /** Idempotent: a token is listed once. False: no disconnect has ended that generation. */
  addLate(tokens: LateTokens): Promise<boolean>;
  /** The sealed token is forgotten, unless `keep`. */
  noteRevoked(tokenId: string, keep: boolean): Promise<void>;
  /**
   * Until the next try; after 7 days the token is given up, and an event tells of it. Answers whether it was.
   */
  noteFailure(tokenId: string, failure: RevocationFailure): Promise<boolean>;
  /**
   * Takes the intent of an ended exchange over, to send its refresh token once more: `answerWithinMs` is
   * its new limit. Undefined: somebody else did.
   */
  takeIntent(
    intent: RefreshIntent,
    of: { connectionId: string; claimId: string; answerWithinMs: number },
  ): Promise<RefreshIntent | undefined>;
  /** The answer to that claim has come, and decides nothing: the intent may be taken again at once. */
  endSend(connectionId: string, claim: RefreshIntent): Promise<void>;
  /** Nobody's answer can come any more. False: tokens lie in the intent. */
  removeIntent(connectionId: string, intent: RefreshIntent): Promise<boolean>;
  /** Leaves the tombstone if no token and no exchange is left. */
  finish(connectionId: string): Promise<boolean>;
  /** Connections whose revocation nobody has carried on for minutes: its start was lost. */
  overdue(limit: number): Promise<{ connectionId: string; tenantId: string }[]>;
  /** Tombstones older than this are forgotten, at most so many. */
  purge(olderThanMs: number, limit: number): Promise<number>;
}
