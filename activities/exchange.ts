import type {
  AttemptRecord,
  Claim,
  ExchangeSubject,
  Postponement,
  RefreshIntent,
  Settlement,
  Verdict,
} from '../connections/exchange.ts';
import { judgeAnswer, type Judgement } from '../oauth/failure-class.ts';
import {
  answerWithinMs,
  providerDeadlineMs,
  replayAllowed,
  sendLimitMs,
} from '../oauth/rotation.ts';
import { strictWarnings } from '../oauth/strict-check.ts';
import { extractTokens } from '../oauth/token-answer.ts';
import type { TokenAnswer, TokenConnection } from '../oauth/token-endpoint.ts';
import { isStoreAway } from './activity-failure.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';
import { prepareExchange, type PreparedExchange } from './exchange-preflight.ts';
import { keepTokens } from './keep-tokens.ts';
import type { RefreshStep, RefreshTokenInput } from './refresh-step.ts';
import { retryDelayMs } from './retry-delay.ts';
import { afterFailure, resolveStep, storeAwayStep, waitStep } from './step-results.ts';
import { tokensToKeep } from './tokens-to-keep.ts';

interface ExchangeFacts {
  input: RefreshTokenInput;
  runId: string;
  subject: ExchangeSubject;
  /** The ambiguous intent to take over; null for a first send. */
  replay: RefreshIntent | null;
}

/** One exchange, read top to bottom: prepare, connect, claim, one POST, keep, judge, settle. */
export class Exchange {
  readonly #dependencies: ExchangeDependencies;
  readonly #facts: ExchangeFacts;
  readonly #claimId: string;
  readonly #startedAtMs: number;

  constructor(dependencies: ExchangeDependencies, facts: ExchangeFacts) {
    this.#dependencies = dependencies;
    this.#facts = facts;
    this.#claimId = dependencies.randomUuid();
    this.#startedAtMs = dependencies.clock.monotonicMs();
  }

  /** `claim_lost`: the connection changed between reading and claiming it; nothing was sent. */
  async run(): Promise<RefreshStep | 'claim_lost'> {
    const { input, subject } = this.#facts;
    const { clock, tokenEndpoint } = this.#dependencies;

    // P3: keys and secrets in memory, and the way to the provider open, before anything is claimed.
    const prepared = await prepareExchange(this.#dependencies, subject);
    if (prepared.kind === 'too_soon') return waitStep(subject, prepared.afterMs);
    if (prepared.kind === 'refused') return this.#postpone(prepared);
    const opened = await tokenEndpoint.connect(prepared.request);
    if ('kind' in opened) return this.#postpone(opened, prepared);

    const claimedAt = { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() };
    let claim: Claim | undefined;
    try {
      claim = await this.#claim(prepared);
    } catch (error) {
      opened.close();
      if (!isStoreAway(error)) throw error;
      // The claim may stand although its answer was lost; it is known that nothing was sent on it.
      const unsent = { class: 'transient', code: 'store_unavailable', retryAfterMs: 0 } as const;
      return storeAwayStep(input, { ...this.#settlement(unsent), notSent: true });
    }
    if (claim === undefined) {
      opened.close();
      return 'claim_lost';
    }

    const answer = await this.#send(opened, prepared, claimedAt);
    const tokens = extractTokens(prepared.definition, answer);
    const judgement = judgeAnswer(prepared.definition, answer, tokens, claim.claimedAt, [
      prepared.request.clientSecret,
      prepared.request.credential,
      prepared.accessToken,
    ]);
    const kept = tokensToKeep({
      subject,
      prepared,
      tokens,
      judgement,
      sentAt: claim.claimedAt,
      random: this.#dependencies.random,
    });
    if (kept !== null) {
      // P4: whatever else is wrong with the answer, its tokens are stored before anyone acts on it.
      this.#count('none');
      const step = await keepTokens(this.#dependencies, {
        subject,
        fence: claim,
        kept,
        sealer: prepared.sealer,
        record: this.#record(),
      });
      await this.#warn(prepared, answer, tokens?.warnings ?? []);
      return step;
    }
    return this.#settle(prepared, judgement, answer.kind === 'not_sent', claim);
  }

  #claim(prepared: PreparedExchange): Promise<Claim | undefined> {
    const { subject, replay, runId } = this.#facts;
    const { rotation } = prepared.definition;
    return this.#dependencies.store.claim({
      claimId: this.#claimId,
      connectionId: subject.connection.id,
      generation: subject.connection.generation,
      replayOf: replay?.attempt ?? null,
      fingerprint: prepared.fingerprint,
      workflowRunId: runId,
      answerWithinMs: answerWithinMs(rotation, this.#dependencies.deadlinesMs),
      rotationClass: rotation.class,
    });
  }

  /** All deadlines count from the claim; a process that was paused since does not send any more. */
  async #send(
    opened: TokenConnection,
    prepared: PreparedExchange,
    claimedAt: { monotonicMs: number; wallMs: number },
  ): Promise<TokenAnswer> {
    const { clock, metrics, deadlinesMs } = this.#dependencies;
    const sentAtMs = clock.monotonicMs();
    const deadlineMs = providerDeadlineMs(prepared.definition.rotation, deadlinesMs);
    const answer = await opened.send({
      mayStillSend: () =>
        clock.monotonicMs() - claimedAt.monotonicMs <= sendLimitMs &&
        Math.abs(clock.wallMs() - claimedAt.wallMs) <= sendLimitMs,
      deadlineMs: deadlineMs - (sentAtMs - claimedAt.monotonicMs),
    });
    opened.close();
    metrics.refreshDurationSeconds.observe(
      { provider: this.#facts.subject.app.provider, phase: 'provider' },
      (clock.monotonicMs() - sentAtMs) / 1_000,
    );
    return answer;
  }

  /** What was odd about an answer whose tokens are kept: codes for the log, never a provider's text. */
  async #warn(prepared: PreparedExchange, answer: TokenAnswer, odd: string[]): Promise<void> {
    const warnings = [...odd, ...(await strictWarnings(prepared.definition, answer))];
    if (warnings.length === 0) return;
    const { connection, app } = this.#facts.subject;
    this.#dependencies.log.warn(
      { connection_id: connection.id, provider: app.provider, warnings },
      'the token answer departs from RFC 6749; its tokens are kept',
    );
  }

  /** The attempt brought no tokens: records why, and says what the Workflow does about it. */
  async #settle(
    prepared: PreparedExchange,
    judgement: Judgement,
    notSent: boolean,
    claim: Claim,
  ): Promise<RefreshStep> {
    const { store, log } = this.#dependencies;
    const { input, subject } = this.#facts;
    const settlement = this.#judged(prepared, judgement, notSent);
    this.#count(settlement.class);
    log.info(
      {
        connection_id: subject.connection.id,
        provider: subject.app.provider,
        class: settlement.class,
        code: settlement.code,
        attempt: claim.attempt,
        duration_ms: settlement.record.durationMs,
      },
      'the token request brought no tokens',
    );
    try {
      if (!(await store.settle(settlement))) return waitStep(subject, 0);
    } catch (error) {
      if (!isStoreAway(error)) throw error;
      return storeAwayStep(input, settlement);
    }
    if (settlement.class !== 'ambiguous') return afterFailure(subject, settlement);
    const { replay, runId } = this.#facts;
    const decision = replayAllowed(prepared.definition.rotation, {
      replays: claim.replays,
      elapsedMs: replay === null ? 0 : claim.claimedAt.getTime() - replay.firstSentAt.getTime(),
    });
    // The call is dead and nobody else holds an answer: a replay waits for its back-off, nothing else.
    const settleMs = decision === 'replay' ? settlement.retryAfterMs : 0;
    return resolveStep(subject, {
      generation: claim.generation,
      attempt: claim.attempt,
      workflowRunId: runId,
      settleMs,
      decision,
    });
  }

  #judged(
    prepared: PreparedExchange,
    judgement: Judgement,
    notSent: boolean,
  ): Settlement | Verdict {
    if (judgement.kind === 'success') {
      // An answer judged a success holds an access token, and that was kept.
      throw new Error('a successful answer had no tokens to keep');
    }
    if (judgement.class === 'permanent') {
      return {
        ...this.#attempt(),
        claimId: this.#claimId,
        class: 'permanent',
        code: judgement.code,
        reason: judgement.reason ?? 'refused',
      };
    }
    const retryAfterMs = retryDelayMs({
      class: judgement.class,
      rotation: prepared.definition.rotation,
      failuresBefore: this.#facts.subject.connection.failure?.count ?? 0,
      retryAfterSeconds: judgement.retryAfterSeconds,
      fraction: this.#dependencies.random(),
    });
    return {
      ...this.#settlement({ class: judgement.class, code: judgement.code, retryAfterMs }),
      notSent,
    };
  }

  #settlement(failure: Pick<Settlement, 'class' | 'code' | 'retryAfterMs'>): Postponement & {
    claimId: string;
  } {
    return { ...this.#attempt(), claimId: this.#claimId, ...failure };
  }

  #attempt(): { connectionId: string; generation: number; record: AttemptRecord } {
    const { connection } = this.#facts.subject;
    return {
      connectionId: connection.id,
      generation: connection.generation,
      record: this.#record(),
    };
  }

  #record(): AttemptRecord {
    return {
      trigger: this.#facts.input.trigger,
      runId: this.#facts.runId,
      durationMs: Math.round(this.#dependencies.clock.monotonicMs() - this.#startedAtMs),
    };
  }

  #count(failureClass: Settlement['class'] | 'permanent' | 'none'): void {
    const { provider } = this.#facts.subject.app;
    this.#dependencies.metrics.providerRequests.inc({ provider, class: failureClass });
  }

  /** Nothing was claimed or sent: says why, and until when to wait. */
  async #postpone(
    refusal: { class: 'transient' | 'misconfigured'; code: string },
    prepared?: PreparedExchange,
  ): Promise<RefreshStep> {
    const { subject } = this.#facts;
    const retryAfterMs = retryDelayMs({
      class: refusal.class,
      rotation: prepared?.definition.rotation ?? null,
      failuresBefore: subject.connection.failure?.count ?? 0,
      retryAfterSeconds: null,
      fraction: this.#dependencies.random(),
    });
    const postponement = {
      ...this.#attempt(),
      class: refusal.class,
      code: refusal.code,
      retryAfterMs,
    };
    await this.#dependencies.store.postpone(postponement);
    this.#dependencies.log.info(
      { connection_id: subject.connection.id, class: refusal.class, code: refusal.code },
      'no token request was made',
    );
    return afterFailure(subject, postponement);
  }
}
