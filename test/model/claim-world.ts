import { randomUUID } from 'node:crypto';
import { createClientSecretOrder } from '../../activities/follow-up.ts';
import type { AppGates } from '../../connections/app-gate.ts';
import { createActivities } from '../../activities/index.ts';
import { createAppSlots } from '../../activities/app-slots.ts';
import { createTokenKeeper } from '../../activities/token-keeper.ts';
import type { SealedExchange } from '../../activities/refresh-step.ts';
import { createExchangeStore } from '../../connections/exchange-store.ts';
import { createConnectionImport } from '../../connections/import-connection.ts';
import type { AppRegistry } from '../../connections/registry.ts';
import type { Queryable } from '../../connections/store-query.ts';
import type { RotationClass } from '../../connections/connection.ts';
import type { TokenVault } from '../../connections/token-vault.ts';
import type { ProviderCatalogue } from '../../oauth/provider-catalogue.ts';
import { defaultDeadlinesMs, settlingMs } from '../../oauth/rotation.ts';
import { createDatabaseClock } from '../../platform/clock.ts';
import type { Logger } from '../../platform/log.ts';
import { Secret } from '../../platform/secret.ts';
import { refreshConnection } from '../../workflows/refresh-connection.ts';
import { createTokenFamilies, type FamilyRotation } from '../support/token-family.ts';
import {
  findViolation,
  type Answer,
  type Claim,
  type Row,
  type SealedTokens,
} from './invariants.ts';
import { modelEpochMs, type ModelSession } from './model-database.ts';
import { createSimulatedEndpoint } from './simulated-provider.ts';
import { SimulatedTemporal, type SimulatedWorker } from './simulated-temporal.ts';
import { Simulation, type Call, type SimulatedProcess, type Step } from './simulation.ts';

const tenantId = 'tenant';
const workersMax = 3;
const keeperEveryMs = 1_000;
/** Gates bound how often something is sent, never whether a token is spent twice. */
const openGates: AppGates = {
  enter: ({ appId, connectionId, claimId }) =>
    Promise.resolve({
      kind: 'open',
      entry: {
        appId,
        connectionId,
        claimId,
        gateId: null,
        isProven: true,
        isLeased: false,
        isSuccessNews: false,
        enteredAt: '',
      },
    }),
  leave: () => Promise.resolve(),
};

/** Everything that can be waited for takes less. */
const patienceMs = 120_000;
const stepsMax = 2_000;
const replayedClasses = new Set<RotationClass>(['S', 'L', 'C', 'X']);
const readingStatements = new Set(['load-exchange-subject', 'read-exchange-position']);

/** What all runs of the model share. */
export interface ModelFixture {
  session: ModelSession;
  vault: TokenVault;
  apps: AppRegistry;
  providers: ProviderCatalogue;
  appId: string;
  /** What the definition says of the provider, and so what is replayed. */
  declared: RotationClass;
  /** What the provider really does. */
  rotation: FamilyRotation;
}

interface ModelWorker extends SimulatedWorker {
  /** Attempts, as `<generation>/<attempt>`, whose tokens its keeper holds. */
  kept: Set<string>;
}

const silentLog: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  fatal: () => undefined,
  prepare: () => () => undefined,
  child: () => silentLog,
};
const noMetrics = {
  refreshes: { inc: () => undefined },
  refreshDurationSeconds: { observe: () => undefined },
  providerRequests: { inc: () => undefined },
};

/** What went wrong in a run of the model, and every event that led there. */
class Violation extends Error {}

/**
 * One connection with everything around it: the real Workflow, Activities, store, vault and import; a
 * simulated Temporal, provider and clock; and the record of what happened, which the conditions judge.
 */
export class ClaimWorld {
  readonly simulation: Simulation;
  readonly temporal: SimulatedTemporal;
  readonly workers: ModelWorker[] = [];
  /** Faults after which an outcome may be ambiguous by nature: a kill, a drop, a pause. */
  hasAmbiguousFault = false;
  readonly #fixture: ModelFixture;
  readonly #families: ReturnType<typeof createTokenFamilies>;
  readonly #importConnection: ReturnType<typeof createConnectionImport>;
  readonly #connectionId = `c-${randomUUID()}`;
  readonly #claims = new Map<Call, Claim>();
  readonly #answers: Answer[] = [];
  readonly #sent = new Set<string>();
  readonly #faults: string[] = [];
  #row: Row | undefined;
  #isRowStale = true;
  #timeSetMs = -1;
  #workersMade = 0;

  private constructor(fixture: ModelFixture) {
    this.#fixture = fixture;
    this.#families = createTokenFamilies(fixture.rotation);
    this.simulation = new Simulation(() => this.#check());
    this.temporal = new SimulatedTemporal(this.simulation, () => this.#pickWorker());
    const clock = this.#clock();
    this.#importConnection = createConnectionImport({
      store: fixture.session.pool,
      vault: fixture.vault,
      apps: fixture.apps,
      providers: fixture.providers,
      clock,
      databaseClock: createDatabaseClock(clock),
      random: () => 0.5,
    });
  }

  /** A connection that was just imported. */
  static async create(fixture: ModelFixture): Promise<ClaimWorld> {
    const world = new ClaimWorld(fixture);
    await world.import();
    return world;
  }

  /** The customer authorises anew, and the new credentials are imported. */
  async import(): Promise<void> {
    this.simulation.note('import');
    await this.#setTime();
    const tokens = this.#families.grant();
    await this.#importConnection(this.#connectionId, {
      tenantId,
      appId: this.#fixture.appId,
      accessToken: new Secret(tokens.accessToken),
      refreshToken: new Secret(tokens.refreshToken),
      expiresInSeconds: 3_600,
    });
    this.#isRowStale = true;
    await this.simulation.settle();
  }

  /** A caller wants a newer token than the stored one. */
  async demand(): Promise<void> {
    if (this.temporal.openRun() !== undefined) return;
    this.temporal.start(refreshConnection, {
      connectionId: this.#connectionId,
      newerThan: (await this.#readRow()).tokenVersion,
      trigger: 'force',
    });
    await this.simulation.settle();
  }

  async kill(process: SimulatedProcess, during?: Step): Promise<void> {
    this.hasAmbiguousFault = true;
    await this.simulation.kill(process, during);
    await this.simulation.settle();
  }

  async pause(process: SimulatedProcess): Promise<void> {
    this.hasAmbiguousFault = true;
    this.simulation.note(`${process.name} is paused`);
    process.isPaused = true;
    process.wasPaused = true;
    await this.simulation.settle();
  }

  async resume(process: SimulatedProcess): Promise<void> {
    this.simulation.note(`${process.name} continues`);
    process.isPaused = false;
    await this.simulation.settle();
  }

  async setStoreAway(process: SimulatedProcess, isAway: boolean): Promise<void> {
    this.simulation.note(`PostgreSQL is ${isAway ? 'away from' : 'back for'} ${process.name}`);
    process.isStoreAway = isAway;
    await this.simulation.settle();
  }

  /** An operator ends the run. */
  async terminate(): Promise<void> {
    this.temporal.terminate();
    await this.simulation.settle();
  }

  /**
   * Lets everything happen in order, and time pass, until `isEnough`, nothing is left to happen, or two
   * minutes are over.
   */
  async runUntil(isEnough: () => boolean, newestFirst = false): Promise<void> {
    const giveUpAtMs = this.simulation.nowMs + patienceMs;
    for (let count = 0; count < stepsMax; count += 1) {
      if (isEnough() || this.simulation.isIdle() || this.simulation.nowMs > giveUpAtMs) return;
      const steps = this.simulation.runnableSteps();
      const step = newestFirst ? steps.at(-1) : steps[0];
      if (step === undefined) await this.simulation.passTime();
      else await this.simulation.perform(step);
    }
    this.#fail('it does not come to rest');
  }

  /** All faults end and callers go on asking; then what was held must be stored, and all be well. */
  async finish(): Promise<void> {
    const hadLiveToken = await this.#holdsLiveToken();
    this.simulation.note('--- all faults end');
    for (const worker of this.workers) {
      if (worker.isPaused) await this.resume(worker);
      worker.isStoreAway = false;
    }
    for (let round = 0; round < 3; round += 1) {
      await this.runUntil(() => false);
      await this.demand();
    }
    await this.runUntil(() => false);
    if (!this.simulation.isIdle()) this.#fail('it does not come to rest');
    const row = await this.#readRow();
    const isWell =
      row.verdict === null &&
      !row.isUncertain &&
      row.intent === null &&
      this.#families.isUsable(row.refreshToken);
    const isAmbiguous = this.hasAmbiguousFault || this.temporal.hasLostSettlement;
    if (!isAmbiguous && !isWell) this.#fail('it did not end well without a fault');
    if (hadLiveToken && !this.#families.isRevoked(row.refreshToken)) {
      if (row.verdict !== null) this.#fail('a verdict although a live token was held');
      if (!this.#families.isUsable(row.refreshToken)) this.#fail('a live token was not stored');
    }
  }

  /** Ends what is left of it, so that nothing keeps the process awake. */
  async close(): Promise<void> {
    for (const worker of this.workers) await this.simulation.kill(worker);
    await new Promise((resolve) => setImmediate(resolve));
  }

  #pickWorker(): SimulatedWorker {
    const able = this.workers.filter(({ isAlive, isPaused }) => isAlive && !isPaused);
    if (able.length < workersMax) return this.#addWorker();
    return able[this.temporal.runs.length % able.length] ?? this.#addWorker();
  }

  #addWorker(): ModelWorker {
    this.#workersMade += 1;
    const { vault, providers } = this.#fixture;
    const process = this.simulation.addProcess(`worker ${this.#workersMade}`);
    const kept = new Set<string>();
    const keeper = createTokenKeeper({
      unstored: { inc: () => undefined, dec: () => undefined },
      onStored: ({ generation, attempt }) => kept.delete(`${generation}/${attempt}`),
    });
    // Its own timer is of the real clock; the virtual one takes its place.
    keeper.stop();
    const tickLater = (): void => {
      this.simulation.after(process, keeperEveryMs, () => {
        void this.simulation
          .run({ process, isOver: false }, () => keeper.tryOnce())
          .then(() => {
            if (keeper.count() > 0) tickLater();
          });
      });
    };
    const activities = createActivities({
      store: createExchangeStore(this.#storeOf(process)),
      gates: openGates,
      gateLine: openGates,
      clientSecrets: createClientSecretOrder(),
      vault,
      providers,
      tokenEndpoint: createSimulatedEndpoint({
        simulation: this.simulation,
        process,
        families: this.#families,
        watch: {
          onSend: (sender, token) => this.#onSend(sender, token),
          onIssue: (sender, token) => this.#onIssue(sender, token),
          onDrop: (sender) => this.#onDrop(sender),
        },
      }),
      keeper: {
        ...keeper,
        keep(tokens) {
          kept.add(`${tokens.fence.generation}/${tokens.fence.attempt}`);
          keeper.keep(tokens);
          if (keeper.count() === 1) tickLater();
        },
      },
      sealedResults: (_, runId) => this.#historyOf(runId),
      deadlinesMs: defaultDeadlinesMs,
      appSlots: createAppSlots(500),
      clock: this.#clock(),
      random: () => 0.5,
      randomUuid: randomUUID,
      currentCall: () => ({
        runId: undefined,
        traceId: undefined,
        traceparent: '',
        requestedAt: undefined,
      }),
      log: silentLog,
      metrics: noMetrics,
    });
    const worker: ModelWorker = Object.assign(process, { activities, kept });
    this.workers.push(worker);
    return worker;
  }

  #historyOf(runId: string): Promise<SealedExchange[]> {
    const nothing = (): never => {
      throw new Error('Temporal is away');
    };
    return this.simulation.suspend(
      this.simulation.currentCall(),
      'history',
      () => this.temporal.runs.find(({ id }) => id === runId)?.sealed ?? [],
      { refused: nothing, lost: nothing },
    );
  }

  #clock() {
    return { monotonicMs: () => this.simulation.nowMs, wallMs: () => this.simulation.nowMs };
  }

  async #setTime(): Promise<void> {
    if (this.#timeSetMs === this.simulation.nowMs) return;
    this.#timeSetMs = this.simulation.nowMs;
    await this.#fixture.session.setTime(this.#timeSetMs);
  }

  /** The store of one process: every statement awaits the scheduler, and may fail or lose its answer. */
  #storeOf(process: SimulatedProcess): Queryable {
    const away = (): never => {
      throw new Error('the connection to PostgreSQL has ended');
    };
    return {
      query: (statement) => {
        const call = this.simulation.currentCall();
        return this.simulation.suspend(
          call,
          statement.name,
          async () => {
            if (process.isStoreAway) return away();
            const before = this.#row;
            await this.#setTime();
            const result = await this.#fixture.session.pool.query(statement);
            if (readingStatements.has(statement.name)) return result as never;
            this.#isRowStale = true;
            if (statement.name === 'claim-refresh' && result.rows.length > 0) {
              this.#onClaim(call, before, statement.values);
            }
            return result as never;
          },
          { refused: away, lost: away },
        );
      },
    };
  }

  #onClaim(call: Call, before: Row | undefined, values: unknown[]): void {
    const replaced = before?.intent ?? null;
    const [, generation, replayOf] = values;
    const isReplay = replayOf !== null && replaced?.generation === generation;
    const attempt = (before?.attempt ?? 0) + 1;
    this.#claims.set(call, { generation: Number(generation), attempt, isReplay, isDropped: false });
    if (replaced === null || !isReplay) return;
    const { declared } = this.#fixture;
    const waitMs = settlingMs({ class: declared, graceSeconds: null, oldAccessTokenDies: false });
    // A call is over for good once its Activity has ended in a process that lives to tell.
    const isCallDead = [...this.#claims].some(
      ([{ isOver, process }, claim]) =>
        claim.attempt === replaced.attempt && (claim.isDropped || (isOver && process.isAlive)),
    );
    if (!isCallDead && this.simulation.nowMs < replaced.answerByMs + waitMs) {
      this.#faults.push(`attempt ${attempt} did not wait for an answer that may be alive`);
    }
  }

  #onSend(call: Call, token: string): void {
    const claim = this.#claims.get(call);
    if (claim === undefined) this.#faults.push('a token was sent without a claim');
    const mayReplay = claim?.isReplay === true && replayedClasses.has(this.#fixture.declared);
    if (this.#sent.has(token) && !mayReplay) this.#faults.push('a token was sent twice');
    this.#sent.add(token);
  }

  #onIssue(call: Call, token: string): void {
    const claim = this.#claims.get(call);
    if (claim !== undefined) this.#answers.push({ claim, call, token });
  }

  #onDrop(call: Call): void {
    this.hasAmbiguousFault = true;
    const claim = this.#claims.get(call);
    if (claim !== undefined) claim.isDropped = true;
  }

  async #check(): Promise<void> {
    const before = this.#row;
    const row = await this.#readRow();
    const sealed = await this.#sealedTokens();
    const [failure] = this.temporal.failures;
    const fault =
      this.#faults[0] ??
      (failure === undefined ? null : `a run failed: ${describe(failure)}`) ??
      findViolation({
        before: before ?? row,
        row,
        sealed,
        answers: this.#answers,
        isInHand: (answer) => this.#isInHand(answer),
        families: this.#families,
        nowMs: this.simulation.nowMs,
        hasAmbiguousFault: this.hasAmbiguousFault,
      });
    if (fault !== null) this.#fail(fault);
  }

  /** A process that lives has it in memory. */
  #isInHand({ call, claim }: Answer): boolean {
    if (!call.process.isAlive || claim.isDropped) return false;
    const worker = this.workers.find((other) => other === call.process);
    return !call.isOver || worker?.kept.has(`${claim.generation}/${claim.attempt}`) === true;
  }

  /** One that works and belongs to the newest consent. */
  async #holdsLiveToken(): Promise<boolean> {
    const { refreshToken, intent } = await this.#readRow();
    const held = [
      refreshToken,
      ...(intent?.late ? [intent.late.token] : []),
      ...(await this.#sealedTokens()).map(({ token }) => token),
      ...this.#answers.filter((answer) => this.#isInHand(answer)).map(({ token }) => token),
    ];
    return held.some(
      (token) => this.#families.isUsable(token) && this.#families.areRelated(token, refreshToken),
    );
  }

  /** What lies sealed in the histories of all runs. */
  async #sealedTokens(): Promise<SealedTokens[]> {
    const tokens: SealedTokens[] = [];
    for (const { sealed } of this.temporal.runs) {
      for (const { generation, attempt, sealed: base64 } of sealed) {
        const token = await this.#openResult(generation, Buffer.from(base64, 'base64'));
        tokens.push({ generation, attempt, token });
      }
    }
    return tokens;
  }

  async #openResult(generation: number, bytes: Buffer): Promise<string> {
    const owner = { tenantId, id: this.#connectionId, generation };
    const opened = await this.#fixture.vault.open('sealed-result', owner, bytes);
    return (JSON.parse(opened.reveal()) as { refreshToken: string }).refreshToken;
  }

  async #readRow(): Promise<Row> {
    if (!this.#isRowStale && this.#row !== undefined) return this.#row;
    const { rows } = await this.#fixture.session.pool.query<StoredRow>({
      name: 'read-model-row',
      text: `select c.generation::int, c.attempt::int, c.token_version::int as "tokenVersion", c.verdict,
          c.uncertain_since is not null as "isUncertain", c.refresh_due_at as "dueAt", c.sealed_refresh_token as "sealedRefreshToken",
          i.generation::int as "intentGeneration", i.attempt::int as "intentAttempt",
          i.late_attempt::int as "lateAttempt", i.late_sealed as "lateSealed", i.answer_by as "answerBy"
        from connections c left join refresh_intents i on i.connection_id = c.id where c.id = $1`,
      values: [this.#connectionId],
    });
    const [stored] = rows;
    if (stored === undefined) throw new Error('the connection is gone');
    const { generation, attempt, tokenVersion, verdict, isUncertain } = stored;
    const owner = { tenantId, id: this.#connectionId, generation };
    const { vault } = this.#fixture;
    const refreshToken = await vault.open('refresh-token', owner, stored.sealedRefreshToken);
    this.#row = {
      generation,
      attempt,
      tokenVersion,
      verdict,
      isUncertain,
      refreshToken: refreshToken.reveal(),
      dueAtMs: stored.dueAt && stored.dueAt.getTime() - modelEpochMs,
      intent: await this.#readIntent(stored),
    };
    this.#isRowStale = false;
    return this.#row;
  }

  async #readIntent(stored: StoredRow): Promise<Row['intent']> {
    const { intentGeneration: generation, lateAttempt, lateSealed } = stored;
    if (generation === null) return null;
    const late =
      lateAttempt === null || lateSealed === null
        ? null
        : { attempt: lateAttempt, token: await this.#openResult(generation, lateSealed) };
    const answerByMs = stored.answerBy.getTime() - modelEpochMs;
    return { generation, attempt: stored.intentAttempt, answerByMs, late };
  }

  #fail(fault: string): never {
    throw new Violation(`${fault}${this.simulation.story()}`);
  }
}

function describe(failure: unknown): string {
  return failure instanceof Error ? `${failure.name}: ${failure.message}` : typeof failure;
}

interface StoredRow {
  generation: number;
  attempt: number;
  tokenVersion: number;
  verdict: string | null;
  isUncertain: boolean;
  dueAt: Date | null;
  sealedRefreshToken: Buffer;
  intentGeneration: number | null;
  intentAttempt: number;
  lateAttempt: number | null;
  lateSealed: Buffer | null;
  answerBy: Date;
}
