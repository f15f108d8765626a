import type { RefreshIntent } from '../connections/exchange.ts';
import { giveUpDays, type RevocationSubject } from '../connections/revocation.ts';
import { replaysMax } from '../oauth/ambiguity.ts';
import { judgeAnswer } from '../oauth/failure-class.ts';
import {
  answerWithinMs,
  providerDeadlineMs,
  sendLimitMs,
  settlingMs,
  type Rotation,
} from '../oauth/rotation.ts';
import { extractTokens } from '../oauth/token-answer.ts';
import type { TokenRequest } from '../oauth/provider-request.ts';
import type { Secret } from '../platform/secret.ts';
import { openResult } from './kept-tokens.ts';
import {
  isDependencyAway,
  requestsOf,
  type RevocationDependencies,
} from './revocation-requests.ts';

/** Between looks at an exchange that another process has in hand. */
const openPollMs = 2_000;
/** The provider cannot be reached, or is out of order. */
const providerAwayMs = 30_000;
const giveUpAfterMs = giveUpDays * 86_400_000;

/**
 * Brings an exchange to its end that was in flight when its connection was deleted. Its own process adds
 * the tokens of the answer; if that died, they may lie sealed in the intent or in the history of the run;
 * and if the answer is lost, the refresh token is sent once more. Where that works the new tokens are
 * there to be revoked, and where it is reuse the provider ends the grant: either is what a disconnect
 * wants, which is why no rotation class forbids it here. Answers when to look again, in milliseconds.
 */
export async function endOpenExchange(
  dependencies: RevocationDependencies,
  subject: RevocationSubject,
  intent: RefreshIntent,
): Promise<number> {
  const { revocations, vault, sealedResults } = dependencies;
  const { connectionId } = subject;
  const openMs = intent.answerBy.getTime() - subject.readAt.getTime();
  if (openMs > 0) return Math.min(openMs, openPollMs);
  const owner = ownerOf(subject, intent);

  if (intent.late !== null) {
    const { kept } = await openResult(vault, owner, intent.late.sealed);
    await addTokens(dependencies, subject, { ...intent, attempt: null }, kept);
    await revocations.removeIntent(connectionId, intent);
    return 0;
  }
  const requests = await closingRequests(dependencies, subject, intent);
  const settleMs = settlingMs(requests[0]?.definition.rotation ?? slowest) + openMs;
  if (settleMs > 0) return settleMs;
  for (const sealed of await sealedResults(connectionId, intent.workflowRunId)) {
    if (sealed.generation !== intent.generation) continue;
    const { kept } = await openResult(vault, owner, Buffer.from(sealed.sealed, 'base64'));
    await addTokens(dependencies, subject, intent, kept);
    return 0;
  }
  if (requests.length === 0 || intent.replays >= replaysMax || subject.ageMs > giveUpAfterMs) {
    await revocations.removeIntent(connectionId, intent);
    return 0;
  }
  let waitMs = providerAwayMs;
  let newest = intent;
  for (const request of requests) {
    const end = await sendOnceMore(dependencies, subject, newest, request);
    waitMs = end.waitMs;
    // Another client secret of the app may be the one that works; nothing was spent.
    if (end.refusedFor === null) break;
    newest = end.refusedFor;
  }
  return waitMs;
}

/** The longest settling time there is, for where the definition is not known any more. */
const slowest: Rotation = { class: 'F', graceSeconds: null, oldAccessTokenDies: false };

function ownerOf(
  { tenantId, connectionId }: RevocationSubject,
  { generation }: Pick<RefreshIntent, 'generation'>,
) {
  return { tenantId, id: connectionId, generation };
}

/**
 * The token request of the ended generation, once with each client secret; empty: what it needs is gone, or there
 * was none.
 */
async function closingRequests(
  dependencies: RevocationDependencies,
  subject: RevocationSubject,
  intent: RefreshIntent,
): Promise<TokenRequest[]> {
  const spent = subject.tokens.find(
    ({ kind, generation }) => kind === 'refresh_token' && generation === intent.generation,
  );
  if (spent === undefined) return [];
  const owner = ownerOf(subject, intent);
  try {
    const refreshToken = await dependencies.vault.open('refresh-token', owner, spent.sealed);
    const requests = (await requestsOf(dependencies, subject, refreshToken)) ?? [];
    return requests.filter(({ definition }) => definition.credential === 'refresh_token');
  } catch (error) {
    if (isDependencyAway(error)) throw error;
    dependencies.log.error({ err: error }, 'an exchange cannot be ended as things are');
    return [];
  }
}

interface SendEnd {
  /** Until somebody looks again. */
  waitMs: number;
  /** The provider refused the client, and this is the claim that it did so to; null otherwise. */
  refusedFor: RefreshIntent | null;
}

async function sendOnceMore(
  dependencies: RevocationDependencies,
  subject: RevocationSubject,
  intent: RefreshIntent,
  request: TokenRequest,
): Promise<SendEnd> {
  const { revocations, tokenEndpoint, clock, deadlinesMs, randomUuid, log } = dependencies;
  const { connectionId } = subject;
  const { definition } = request;
  const opened = await tokenEndpoint.connect(request);
  if ('kind' in opened) return { waitMs: providerAwayMs, refusedFor: null };
  const claimedAt = { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() };
  const claim = await revocations
    .takeIntent(intent, {
      connectionId,
      claimId: randomUuid(),
      answerWithinMs: answerWithinMs(definition.rotation, deadlinesMs),
    })
    .catch((error: unknown) => {
      opened.close();
      throw error;
    });
  if (claim === undefined) {
    opened.close();
    return { waitMs: openPollMs, refusedFor: null };
  }
  const answer = await opened.send({
    mayStillSend: () =>
      clock.monotonicMs() - claimedAt.monotonicMs <= sendLimitMs &&
      Math.abs(clock.wallMs() - claimedAt.wallMs) <= sendLimitMs,
    deadlineMs: providerDeadlineMs(definition.rotation, deadlinesMs),
  });
  opened.close();
  const tokens = extractTokens(definition, answer);
  log.info({ answered: answer.kind, has_tokens: tokens !== null }, 'the exchange was ended');
  if (tokens !== null && (tokens.refreshToken ?? tokens.accessToken) !== null) {
    await addTokens(dependencies, subject, claim, tokens);
    return { waitMs: 0, refusedFor: null };
  }
  const judgement = judgeAnswer(definition, answer, tokens, claim.firstSentAt, [
    request.clientSecret,
    request.credential,
  ]);
  const failureClass = judgement.kind === 'failure' ? judgement.class : 'protocol_break';
  switch (failureClass) {
    case 'permanent':
    case 'protocol_break':
      await revocations.removeIntent(connectionId, claim);
      return { waitMs: 0, refusedFor: null };
    case 'misconfigured':
      await revocations.endSend(connectionId, claim);
      return { waitMs: providerAwayMs, refusedFor: claim };
    case 'transient':
    case 'rate_limited':
    case 'ambiguous':
      return { waitMs: providerAwayMs, refusedFor: null };
  }
}

/** Sealed for the generation that they would have begun. */
async function addTokens(
  { revocations, vault }: RevocationDependencies,
  subject: RevocationSubject,
  { generation, attempt }: { generation: number; attempt: number | null },
  tokens: { accessToken: Secret | null; refreshToken: Secret | null },
): Promise<void> {
  const sealer = await vault.sealer();
  const owner = ownerOf(subject, { generation: generation + 1 });
  const { accessToken, refreshToken } = tokens;
  await revocations.addLate({
    connectionId: subject.connectionId,
    generation,
    attempt,
    accessToken: accessToken && sealer.seal('access-token', owner, accessToken),
    refreshToken: refreshToken && sealer.seal('refresh-token', owner, refreshToken),
    refreshFingerprint: refreshToken && sealer.fingerprint(refreshToken),
  });
}
