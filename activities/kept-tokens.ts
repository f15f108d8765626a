import type { AttemptRecord, SealedTokens } from '../connections/exchange.ts';
import type { SealedOwner, SealedValue, Sealer, TokenVault } from '../connections/token-vault.ts';
import { Secret } from '../platform/secret.ts';

/** The tokens of an answer and the facts stored beside them: what must not be lost. */
export interface KeptTokens extends Omit<
  SealedTokens,
  'accessToken' | 'refreshToken' | 'refreshFingerprint'
> {
  /** The answer's, else the one that the connection held. */
  accessToken: Secret | null;
  refreshToken: Secret | null;
}

/** Seals both tokens for the generation that they begin. */
export function sealTokens(
  sealer: Sealer,
  owner: SealedOwner,
  { accessToken, refreshToken, ...facts }: KeptTokens,
): SealedTokens {
  return {
    ...facts,
    accessToken: accessToken && sealer.seal('access-token', owner, accessToken),
    refreshToken: refreshToken && sealer.seal('refresh-token', owner, refreshToken),
    refreshFingerprint: refreshToken && sealer.fingerprint(refreshToken),
  };
}

/** What `sealResult` seals: the tokens, and the line of the attempts log that goes with them. */
export interface KeptResult {
  kept: KeptTokens;
  /** Null: sealed by a version that kept none. */
  record: AttemptRecord | null;
}

/** Seals tokens and facts as one value, for an intent or for the history of a run. */
export function sealResult(
  sealer: Sealer,
  owner: SealedOwner,
  { kept: tokens, record }: KeptResult,
): SealedValue {
  const json = JSON.stringify({
    ...tokens,
    record,
    accessToken: tokens.accessToken?.reveal() ?? null,
    refreshToken: tokens.refreshToken?.reveal() ?? null,
  });
  return sealer.seal('sealed-result', owner, new Secret(json));
}

interface SealedJson extends Omit<
  KeptTokens,
  'accessToken' | 'refreshToken' | 'expiresAt' | 'refreshDueAt' | 'refreshTokenExpiresAt'
> {
  accessToken: string | null;
  refreshToken: string | null;
  expiresAt: string | null;
  refreshDueAt: string | null;
  refreshTokenExpiresAt: string | null;
  record?: AttemptRecord | null;
}

/** Opens what `sealResult` sealed. Throws as TokenVault.open does. */
export async function openResult(
  vault: TokenVault,
  owner: SealedOwner,
  bytes: Buffer,
): Promise<KeptResult> {
  const opened = await vault.open('sealed-result', owner, bytes);
  // The seal proves that sealResult wrote this JSON.
  const { record = null, ...json } = JSON.parse(opened.reveal()) as SealedJson;
  const kept = {
    ...json,
    accessToken: json.accessToken === null ? null : new Secret(json.accessToken),
    refreshToken: json.refreshToken === null ? null : new Secret(json.refreshToken),
    expiresAt: parseDate(json.expiresAt),
    refreshDueAt: parseDate(json.refreshDueAt),
    refreshTokenExpiresAt: parseDate(json.refreshTokenExpiresAt),
  };
  return { kept, record };
}

function parseDate(iso: string | null): Date | null {
  return iso === null ? null : new Date(iso);
}
