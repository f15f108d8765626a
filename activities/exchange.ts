import type {
  AttemptRecord,
  Claim,
  ExchangeSubject,
  Postponement,
  RefreshIntent,
  Settlement,
  Verdict,
} from '../connections/exchange.ts';
import { judgeAnswer, type Failure, type Judgement } from '../oauth/failure-class.ts';
import { isRefusedReplayLost, isReplayCounted } from '../oauth/ambiguity.ts';
import {
  answerWithinMs,
  providerDeadlineMs,
  replayBudgetMs,
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
import {
  dueAfterMs,
  isInsideGrace,
  offeredProbe,
  resolveAmbiguity,
  type AmbiguousSubject,
} from './resolve-ambiguity.ts';
import { retryDelayMs } from './retry-delay.ts';
import { afterFailure, resolveStep, resultOf, storeAwayStep, waitStep } from './step-results.ts';
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
    const instead = await this.#insteadOfReplay(prepared);
    if (instead !== null) return instead;
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
      return storeAwayStep(input, {
        ...this.#settlement(unsent),
        isReplayCounted: false,
        refreshDueAfterMs: 0,
      });
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
    return this.#settle(prepared, judgement, claim);
  }

  #claim(prepared: PreparedExchange): Promise<Claim | undefined> {
    const { subject, replay, runId } = this.#facts;
    const { rotation } = prepared.definition;
    return this.#dependencies.store.claim({
      claimId: this.#claimId,
      connectionId: subject.connection.id,
      generation: subject.connection.generation,
      replayOf: replay?.attempt ?? null,
      replayWithinMs: this.#isInsideGrace(prepared)
        ? replayBudgetMs(rotation, this.#dependencies.deadlinesMs)
        : null,
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
    claim: Claim,
  ): Promise<RefreshStep> {
    const { store, log } = this.#dependencies;
    const { input, subject, runId } = this.#facts;
    if (judgement.kind === 'success') {
      // An answer judged a success holds an access token, and that was kept.
      throw new Error('a successful answer had no tokens to keep');
    }
    const settlement =
      judgement.class === 'permanent'
        ? this.#verdict(prepared, judgement)
        : this.#failure(prepared, judgement.class, judgement, claim);
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
    return resolveStep(subject, {
      generation: claim.generation,
      attempt: claim.attempt,
      workflowRunId: runId,
      // The call is dead and nobody else holds an answer: what follows waits for its back-off alone.
      settleMs: settlement.retryAfterMs,
      decision: settlement.refreshDueAfterMs === settlement.retryAfterMs ? 'replay' : 'uncertain',
    });
  }

  /** A permanent answer, unless this provider has to say it twice. */
  #verdict(prepared: PreparedExchange, judgement: Failure): Settlement | Verdict {
    const { subject, replay } = this.#facts;
    const { failure } = subject.connection;
    const { confirmAfterSeconds } = prepared.definition.ambiguity;
    const isConfirmed = failure?.class === 'transient' && failure.code === judgement.code;
    if (confirmAfterSeconds !== null && !isConfirmed) {
      const retryAfterMs = 1_000 * confirmAfterSeconds;
      return {
        ...this.#settlement({ class: 'transient', code: judgement.code, retryAfterMs }),
        isReplayCounted: false,
        refreshDueAfterMs: retryAfterMs,
      };
    }
    const isLost =
      replay !== null &&
      judgement.reason === 'revoked' &&
      isRefusedReplayLost(prepared.definition.rotation);
    const { refreshTokenExpiresAt: endsAt, connection } = subject;
    const isPastEnd = endsAt !== null && endsAt <= connection.readAt;
    return {
      ...this.#attempt(),
      claimId: this.#claimId,
      class: 'permanent',
      code: judgement.code,
      reason: isLost ? 'lost_rotation' : isPastEnd ? 'expired' : (judgement.reason ?? 'refused'),
    };
  }

  /** A failure that is tried again, and when; where it is ambiguous the rotation class decides. */
  #failure(
    prepared: PreparedExchange,
    failureClass: Settlement['class'],
    { code, retryAfterSeconds }: Failure,
    claim: Claim,
  ): Settlement {
    const { subject, replay } = this.#facts;
    const retryAfterMs = retryDelayMs({
      class: failureClass,
      rotation: prepared.definition.rotation,
      isReplay: replay !== null,
      failuresBefore: subject.connection.failure?.count ?? 0,
      retryAfterSeconds,
      fraction: this.#dependencies.random(),
    });
    const failure = { class: failureClass, code };
    if (failureClass !== 'ambiguous') {
      return {
        ...this.#settlement({ ...failure, retryAfterMs }),
        isReplayCounted: false,
        refreshDueAfterMs: retryAfterMs,
      };
    }
    const isCounted =
      replay !== null &&
      isReplayCounted(prepared.definition.rotation, this.#isInsideGrace(prepared));
    const replays = replay === null ? 0 : replay.replays + (isCounted ? 1 : 0);
    const firstSentAt = replay?.firstSentAt ?? claim.claimedAt;
    const decision = resolveAmbiguity(
      this.#ambiguous(prepared, { replays, firstSentAt }, this.#now()),
      offeredProbe(prepared.definition),
    );
    // To wait needs no back-off: what it waits for is the end of the access token.
    const delayMs = decision.kind === 'wait' ? 0 : retryAfterMs;
    return {
      ...this.#settlement({ ...failure, retryAfterMs: delayMs }),
      isReplayCounted: isCounted,
      refreshDueAfterMs: decision.kind === 'wait' ? decision.forMs : delayMs,
    };
  }

  /** What is done in place of a replay that its class does not allow now; null: send. */
  async #insteadOfReplay(prepared: PreparedExchange): Promise<RefreshStep | null> {
    const { subject, replay } = this.#facts;
    const { tokenEndpoint, store, log } = this.#dependencies;
    if (replay === null) return null;
    const ambiguous = this.#ambiguous(prepared, replay, subject.connection.readAt);
    let decision = resolveAmbiguity(ambiguous, offeredProbe(prepared.definition));
    if (decision.kind === 'probe' && prepared.refreshToken !== null) {
      const answer = await tokenEndpoint.introspect(prepared.request, prepared.refreshToken);
      log.info({ connection_id: subject.connection.id, answer }, 'asked whether the token lives');
      decision = resolveAmbiguity(ambiguous, answer);
    }
    switch (decision.kind) {
      case 'replay':
        return null;
      case 'lost': {
        const lost = 'lost_rotation';
        const end = { class: 'permanent', code: lost, reason: lost } as const;
        const verdict = { ...this.#attempt(), claimId: replay.claimId, ...end };
        // False: tokens or another attempt have come between.
        return (await store.settle(verdict))
          ? afterFailure(subject, verdict)
          : waitStep(subject, 0);
      }
      case 'wait':
      case 'probe':
        await store.markUncertain(
          { ...replay, connectionId: subject.connection.id },
          dueAfterMs(decision),
          this.#facts.input.trigger,
        );
        return { next: 'end', result: resultOf(subject.connection, 'uncertain') };
    }
  }

  #ambiguous(
    prepared: PreparedExchange,
    intent: AmbiguousSubject['intent'],
    now: Date,
  ): AmbiguousSubject {
    const { subject, input } = this.#facts;
    const { deadlinesMs } = this.#dependencies;
    return { subject, intent, definition: prepared.definition, deadlinesMs, input, now };
  }

  /** Whether this is a replay of class T that its provider still answers. */
  #isInsideGrace(prepared: PreparedExchange): boolean {
    const { subject, replay } = this.#facts;
    if (replay === null) return false;
    return isInsideGrace(this.#ambiguous(prepared, replay, subject.connection.readAt));
  }

  /** The database's time, carried forward from when the row was read. */
  #now(): Date {
    const elapsedMs = this.#dependencies.clock.monotonicMs() - this.#startedAtMs;
    return new Date(this.#facts.subject.connection.readAt.getTime() + elapsedMs);
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
      isReplay: this.#facts.replay !== null,
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
