import type { FailureClass, ReauthorizationReason, RefreshTrigger } from '../client/contract.ts';
import type { OpenGate } from './app-gate.ts';
import type { AppLimits } from './app.ts';
import type { Connection, RotationClass } from './connection.ts';
import type { SealedValue } from './token-vault.ts';

/** A refresh token is being spent, or was spent and nobody knows with what end. */
export interface RefreshIntent {
  generation: number;
  attempt: number;
  /** Of the newest claim: a statement that names it cannot end anybody else's attempt. */
  claimId: string;
  /** Sends of this generation after the first that count; see oauth/ambiguity.ts. */
  replays: number;
  /** The Workflow run whose history may hold a sealed result. */
  workflowRunId: string;
  firstSentAt: Date;
  answerBy: Date;
  /** Tokens of an older attempt, sealed, that arrived while this one was open. */
  late: { attempt: number; sealed: Buffer } | null;
}

/** Everything that the exchange needs of one connection, read in one statement. */
export interface ExchangeSubject {
  connection: Connection;
  /** How many claims there ever were; the newest claim holds this number. */
  attempt: number;
  sealedAccessToken: Buffer | null;
  sealedRefreshToken: Buffer | null;
  sealedDpopKey: Buffer | null;
  lastSentAt: Date | null;
  /** As many as the provider's limit counts. */
  recentSends: Date[];
  /** As the provider or its definition tells; null if neither does. */
  refreshTokenExpiresAt: Date | null;
  app: {
    id: string;
    provider: string;
    clientId: string;
    generation: number;
    sealedClientSecrets: Buffer | null;
    overrides: Record<string, unknown>;
    limits: AppLimits;
    pausedReason: string | null;
    pausedUntil: Date | null;
  };
  intent: RefreshIntent | null;
  /** The app's gate at the host of the last send; null if there is none, or it has to be asked. */
  openGate: OpenGate | null;
}

/** Which attempt a write belongs to; each write of a run is conditional on it (P5). */
export interface Fence {
  connectionId: string;
  generation: number;
  attempt: number;
}

/** Late tokens in the intent of an attempt: which ones, for newer ones may come. */
export interface LateFence extends Fence {
  lateAttempt: number;
}

export interface ClaimRequest {
  /** A UUID of the caller's making, so that it can settle a claim whose answer it never saw. */
  claimId: string;
  connectionId: string;
  generation: number;
  /** The attempt whose open intent this claim takes over; null for a first send. */
  replayOf: number | null;
  /** The replay is refused later than this after the first send; null: no such limit. */
  replayWithinMs: number | null;
  fingerprint: Buffer | null;
  workflowRunId: string;
  /** From the claim until no answer can come any more. */
  answerWithinMs: number;
  rotationClass: RotationClass;
  /** Host of the token endpoint, by which the gateway finds the app's gate. */
  tokenHost: string | null;
  /** How many send times to keep for the provider's limit; 0: none. */
  sendsKept: number;
  /** The refresh replaces a valid token at a caller's wish. */
  isForced: boolean;
}

export interface Claim extends Fence {
  /** The database's clock when the claim was taken; expiry counts from here. */
  claimedAt: Date;
  replays: number;
}

/** One line of the attempts log. */
export interface AttemptRecord {
  trigger: RefreshTrigger;
  runId: string;
  durationMs: number;
}

interface RecordedAttempt {
  connectionId: string;
  generation: number;
  record: AttemptRecord;
}

/** How an attempt without tokens ended; carries no secret, so a Workflow may hold it. */
export interface Settlement extends RecordedAttempt {
  claimId: string;
  class: Exclude<FailureClass, 'permanent'>;
  code: string;
  /** The refresh token may be spent: its intent stays. */
  isFateOpen: boolean;
  /** A replay that counts against those that its class allows; a first send never does. */
  isReplayCounted: boolean;
  /** Until the next attempt, in milliseconds. */
  retryAfterMs: number;
  /** Until somebody should act of his own accord; null: nobody. */
  refreshDueAfterMs: number | null;
}

/** The provider's verdict on the credentials. */
export interface Verdict extends RecordedAttempt {
  claimId: string;
  class: 'permanent';
  code: string;
  reason: ReauthorizationReason;
}

/** Why no attempt was made. */
/** `attempt`: the newest when the row was read. */
export type Postponement = { attempt: number } & Omit<
  Settlement,
  'claimId' | 'isFateOpen' | 'isReplayCounted'
>;

/** New credentials, sealed for `fence.generation + 1`, with the facts that go beside them. */
export interface SealedTokens {
  /** Both are always sealed anew; null where the connection has none. */
  accessToken: SealedValue | null;
  refreshToken: SealedValue | null;
  refreshFingerprint: Buffer | null;
  /** The answer held an access token, so token_version grows. */
  isNewAccessToken: boolean;
  tokenType: string;
  scope: string | null;
  expiresAt: Date | null;
  lifetimeSeconds: number | null;
  expiryAssumed: boolean;
  refreshTokenExpiresAt: Date | null;
  refreshDueAt: Date | null;
  metadata: Record<string, unknown>;
  /** The answer was unusable beside its refresh token: what to record, and until when to wait. */
  failure: { class: FailureClass; code: string; retryAfterMs: number } | null;
}

/**
 * `stored`; `late`: a later attempt is open, the tokens lie sealed in its intent; `superseded`: newer
 * credentials are stored, or the connection is gone.
 */
export type CommitOutcome = 'stored' | 'late' | 'superseded';
