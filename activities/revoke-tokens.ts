import { heartbeat } from '@temporalio/activity';
import type { PendingToken, RevocationSubject } from '../connections/revocation.ts';
import type { RevocationAnswer } from '../oauth/revocation.ts';
import { endOpenExchange } from './end-open-exchange.ts';
import {
  isDependencyAway,
  requestsOf,
  type RevocationDependencies,
} from './revocation-requests.ts';

export interface RevokeTokensInput {
  connectionId: string;
}

/** What the Workflow does next. */
export type RevocationStep = { next: 'end' } | { next: 'again'; afterMs: number };

const heartbeatEveryMs = 1_000;
const backOffFirstMs = 1_000;
const backOffMaxMs = 3_600_000;
const doublingsMax = 12;
/** Something came between; another look finds it. */
const lookAgainMs = 1_000;

/**
 * The Activity `revokeTokens`: one round of a disconnect. Every pending token whose turn it is goes to the
 * provider's revocation endpoint; an exchange that was in flight when the connection was deleted is
 * brought to its end, for it may have brought tokens that nobody else knows of. Idempotent. Throws
 * `store_unavailable`, `key_service_unavailable`.
 */
export async function revokeTokens(
  dependencies: RevocationDependencies,
  input: RevokeTokensInput,
): Promise<RevocationStep> {
  const beat = setInterval(() => {
    heartbeat();
  }, heartbeatEveryMs);
  try {
    return await revoke(dependencies, input);
  } finally {
    clearInterval(beat);
  }
}

async function revoke(
  dependencies: RevocationDependencies,
  { connectionId }: RevokeTokensInput,
): Promise<RevocationStep> {
  const { revocations } = dependencies;
  const subject = await revocations.load(connectionId);
  if (subject === undefined) return { next: 'end' };
  const waitsMs: number[] = [];
  for (const token of subject.tokens) {
    if (token.isRevoked) continue;
    const waitMs =
      token.dueInMs > 0 ? token.dueInMs : await revokeOne(dependencies, subject, token);
    if (waitMs !== null) waitsMs.push(waitMs);
  }
  if (subject.intent !== null) {
    const waitMs = await endOpenExchange(dependencies, subject, subject.intent);
    // What it brought is to be revoked in its turn.
    waitsMs.push(waitMs);
  }
  if (waitsMs.length === 0) {
    await revocations.finish(connectionId);
    if ((await revocations.load(connectionId)) === undefined) return { next: 'end' };
    return { next: 'again', afterMs: lookAgainMs };
  }
  return { next: 'again', afterMs: Math.ceil(Math.min(...waitsMs)) };
}

/** Until the next try of this token; null: none is needed. */
async function revokeOne(
  dependencies: RevocationDependencies,
  subject: RevocationSubject,
  token: PendingToken,
): Promise<number | null> {
  const { revocations, log, random } = dependencies;
  const answer = await askProvider(dependencies, subject, token);
  if (answer.kind === 'revoked') {
    // The exchange that is open may yet have to be ended with it.
    const isNeeded = subject.intent?.generation === token.generation;
    await revocations.noteRevoked(token.id, isNeeded);
    log.info({ token_kind: token.kind, code: answer.code }, 'a token was revoked');
    return null;
  }
  const retryAfterMs =
    answer.kind === 'failed' && answer.retryAfterSeconds !== null
      ? 1_000 * answer.retryAfterSeconds
      : backOffMs(token.attempts, random());
  const isGivenUp = await revocations.noteFailure(token.id, { code: answer.code, retryAfterMs });
  const fields = { token_kind: token.kind, code: answer.code, attempts: token.attempts + 1 };
  if (isGivenUp) log.error(fields, 'a token could not be revoked, and is given up');
  else log.info(fields, 'a token is not revoked yet');
  return isGivenUp ? null : retryAfterMs;
}

async function askProvider(
  dependencies: RevocationDependencies,
  subject: RevocationSubject,
  { sealed, kind, generation }: PendingToken,
): Promise<RevocationAnswer> {
  const { vault, tokenEndpoint } = dependencies;
  try {
    const owner = { tenantId: subject.tenantId, id: subject.connectionId, generation };
    const sealedKind = kind === 'refresh_token' ? 'refresh-token' : 'access-token';
    const token = await vault.open(sealedKind, owner, sealed);
    const requests = await requestsOf(dependencies, subject, token);
    if (requests === null) return failed('app_deleted');
    let answer: RevocationAnswer = failed('request_incomplete');
    for (const request of requests) {
      answer = await tokenEndpoint.revoke(request, { token, kind });
      if (answer.kind !== 'client_refused') break;
    }
    return answer;
  } catch (error) {
    if (isDependencyAway(error)) throw error;
    dependencies.log.error({ err: error }, 'a token cannot be revoked as things are');
    return failed('unseal_failed');
  }
}

function failed(code: string): RevocationAnswer & { kind: 'failed' } {
  return { kind: 'failed', code, retryAfterSeconds: null };
}

function backOffMs(attempts: number, fraction: number): number {
  const capMs = Math.min(backOffFirstMs * 2 ** Math.min(attempts, doublingsMax), backOffMaxMs);
  return Math.round(capMs * (0.5 + 0.5 * fraction));
}
