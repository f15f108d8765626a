import type { GateEntry } from '../connections/app-gate.ts';
import type { AttemptRecord, Claim } from '../connections/exchange.ts';
import { validForMs } from '../connections/connection.ts';
import { isForcedRefresh } from '../connections/forced-refreshes.ts';
import { judgeAnswer, type Failure } from '../oauth/failure-class.ts';
import {
  answerWithinMs,
  providerDeadlineMs,
  replayBudgetMs,
  sendLimitMs,
} from '../oauth/rotation.ts';
import { strictWarnings } from '../oauth/strict-check.ts';
import { extractTokens } from '../oauth/token-answer.ts';
import type { TokenAnswer } from '../oauth/provider-answer.ts';
import type { TokenConnection } from '../oauth/token-endpoint.ts';
import { isStoreAway } from './activity-failure.ts';
import { enterGate, leaveGate } from './app-gate-pass.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';
import {
  prepareExchange,
  type ExchangeFacts,
  type PreparedExchange,
  type Refusal,
} from './exchange-preflight.ts';
import { insteadOfReplay } from './instead-of-replay.ts';
import { keepTokens } from './keep-tokens.ts';
import type { RefreshStep } from './refresh-step.ts';
import { isInsideGrace } from './resolve-ambiguity.ts';
import { retryDelayMs, unaskedDelayMs } from './retry-delay.ts';
import type { FollowUp } from './follow-up.ts';
import { settleExchange } from './settle-exchange.ts';
import { afterFailure, resultOf, storeAwayStep, waitStep } from './step-results.ts';
import { tokensToKeep } from './tokens-to-keep.ts';

/** A run sleeps through a closed gate so long; the callers of a longer one hear when to ask again. */
const gateSleepMaxMs = 5_000;
const tooSoonSleepMaxMs = 30_000;
/** Up to twice this, so that those who were sent away do not come back together. */
const busyPauseMs = 2_000;

/**
 * One exchange, read top to bottom: prepare, pass the app's gate, connect, claim, one POST, keep, judge,
 * settle.
 */
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
  async run(): Promise<RefreshStep | FollowUp | 'claim_lost'> {
    const { input, subject, replay, followUp } = this.#facts;

    // P3: keys and secrets in memory, and the way to the provider open, before anything is claimed.
    const prepared = await prepareExchange(this.#dependencies, this.#facts);
    if (prepared.kind === 'too_soon') return this.#tooSoon(prepared.afterMs);
    if (prepared.kind === 'refused') return this.#postpone(prepared);
    if (replay !== null) {
      const ambiguous = { input, subject, intent: replay, prepared, record: this.#record() };
      const step = await insteadOfReplay(this.#dependencies, ambiguous);
      if (step !== null) return step;
    }

    const passed = followUp?.entry ?? (await this.#passGate(prepared));
    if ('next' in passed) return passed;
    return this.#exchange(prepared, passed);
  }

  /** A run that would sleep long ends, and nobody of his own accord starts another before it may send. */
  async #tooSoon(afterMs: number): Promise<RefreshStep> {
    const { input, subject } = this.#facts;
    if (input.trigger === 'sweep' && afterMs > tooSoonSleepMaxMs) await this.#defer(afterMs);
    return waitStep(subject, afterMs);
  }

  async #passGate(prepared: PreparedExchange): Promise<GateEntry | RefreshStep> {
    const { subject } = this.#facts;
    const gate = await enterGate(this.#dependencies, {
      subject,
      prepared,
      claimId: this.#claimId,
      isUrgent: this.#isInsideGrace(prepared),
    });
    switch (gate.kind) {
      case 'open':
        return gate.entry;
      case 'wait':
        if (gate.reason === 'busy') return this.#yield();
        // A run that waits longer ends: callers read the gate, and Temporal has nothing to keep.
        if (gate.afterMs <= gateSleepMaxMs) return waitStep(subject, gate.afterMs);
        return { next: 'end', result: resultOf(subject.connection, 'waiting') };
      case 'app_paused':
        return { next: 'end', result: resultOf(subject.connection, 'app_misconfigured') };
    }
  }

  /** Others come first, and take long: the run ends, and nobody starts another one right away. */
  async #yield(): Promise<RefreshStep> {
    await this.#defer(busyPauseMs * (1 + this.#dependencies.random()));
    return { next: 'end', result: resultOf(this.#facts.subject.connection, 'waiting') };
  }

  #defer(afterMs: number): Promise<void> {
    const { connection, attempt } = this.#facts.subject;
    const fence = { connectionId: connection.id, generation: connection.generation, attempt };
    return this.#dependencies.store.defer(fence, afterMs);
  }

  async #exchange(
    prepared: PreparedExchange,
    entry: GateEntry,
  ): Promise<RefreshStep | FollowUp | 'claim_lost'> {
    const { input, subject } = this.#facts;
    const { clock, tokenEndpoint } = this.#dependencies;

    const opened = await tokenEndpoint.connect(prepared.request);
    if ('kind' in opened) {
      await leaveGate(
        this.#dependencies,
        entry,
        opened.class === 'transient'
          ? { kind: 'unavailable', retryAfterMs: null }
          : { kind: 'unsent' },
      );
      return this.#postpone({ ...opened, retryAfterMs: null }, prepared);
    }

    const claimedAt = { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() };
    let claim: Claim | undefined;
    try {
      claim = await this.#claim(prepared);
    } catch (error) {
      opened.close();
      if (!isStoreAway(error)) throw error;
      // The claim may stand although its answer was lost; it is known that nothing was sent on it.
      return storeAwayStep(input, {
        ...this.#identity(),
        claimId: this.#claimId,
        class: 'transient',
        code: 'store_unavailable',
        isFateOpen: false,
        isReplayCounted: false,
        retryAfterMs: 0,
        refreshDueAfterMs: 0,
      });
    }
    if (claim === undefined) {
      opened.close();
      await leaveGate(this.#dependencies, entry, { kind: 'unsent' });
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
      const left = leaveGate(this.#dependencies, entry, { kind: 'succeeded' });
      // Sealed tokens on their way to the history wait for nothing; the lease ends by itself.
      if (step.next === 'store') left.catch(() => undefined);
      else await left;
      this.#dependencies.clientSecrets.worked(subject.app, prepared.secretIndex);
      await this.#warn(prepared, answer, tokens?.warnings ?? []);
      return step;
    }
    if (judgement.kind === 'success') {
      // An answer judged a success holds an access token, and that was kept.
      throw new Error('a successful answer had no tokens to keep');
    }
    this.#count(judgement.class);
    return settleExchange(this.#dependencies, this.#facts, {
      prepared,
      claimId: this.#claimId,
      record: this.#record(),
      answer,
      judgement,
      claim,
      entry,
    });
  }

  #claim(prepared: PreparedExchange): Promise<Claim | undefined> {
    const { input, subject, replay, runId } = this.#facts;
    const { connection } = subject;
    const { deadlinesMs, store } = this.#dependencies;
    const { rotation, limits } = prepared.definition;
    return store.claim({
      claimId: this.#claimId,
      connectionId: connection.id,
      generation: connection.generation,
      replayOf: replay?.attempt ?? null,
      replayWithinMs: this.#isInsideGrace(prepared) ? replayBudgetMs(rotation, deadlinesMs) : null,
      fingerprint: prepared.fingerprint,
      workflowRunId: runId,
      answerWithinMs: answerWithinMs(rotation, deadlinesMs),
      rotationClass: rotation.class,
      tokenHost: prepared.tokenHost,
      sendsKept: limits.perWindow?.count ?? 0,
      isForced: replay === null && isForcedRefresh(connection, input.trigger, connection.readAt),
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
    const { app } = this.#facts.subject;
    this.#dependencies.log.warn(
      { provider: app.provider, warnings },
      'the token answer departs from RFC 6749; its tokens are kept',
    );
  }

  /** Whether this is a replay of class T that its provider still answers. */
  #isInsideGrace({ definition }: PreparedExchange): boolean {
    const { subject, replay: intent } = this.#facts;
    const { deadlinesMs } = this.#dependencies;
    const now = subject.connection.readAt;
    return intent !== null && isInsideGrace({ intent, definition, deadlinesMs, now });
  }

  #identity(): { connectionId: string; generation: number; record: AttemptRecord } {
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

  #count(failureClass: Failure['class'] | 'none'): void {
    const { provider } = this.#facts.subject.app;
    this.#dependencies.metrics.providerRequests.inc({ provider, class: failureClass });
  }

  /** Nothing was claimed or sent: says why, and until when to wait. */
  async #postpone(
    refusal: Omit<Refusal, 'kind'>,
    prepared?: PreparedExchange,
  ): Promise<RefreshStep> {
    const { subject } = this.#facts;
    const fraction = this.#dependencies.random();
    const failuresBefore = subject.connection.failure?.count ?? 0;
    const retryAfterMs =
      refusal.retryAfterMs ??
      retryDelayMs({
        class: refusal.class,
        rotation: prepared?.definition.rotation ?? null,
        isReplay: this.#facts.replay !== null,
        failuresBefore,
        retryAfterSeconds: null,
        fraction,
      });
    const postponement = {
      ...this.#identity(),
      attempt: subject.attempt,
      class: refusal.class,
      code: refusal.code,
      retryAfterMs,
      refreshDueAfterMs: unaskedDelayMs({
        retryAfterMs,
        failuresBefore,
        expiresInMs: validForMs(subject.connection),
        fraction,
      }),
    };
    await this.#dependencies.store.postpone(postponement);
    this.#dependencies.log.info(
      { class: refusal.class, code: refusal.code },
      'no token request was made',
    );
    return afterFailure(subject, postponement);
  }
}
