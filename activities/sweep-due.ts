import type { RefreshResult } from '../client/contract.ts';
import { appSendLimits } from '../connections/app-gate.ts';
import type { RefreshRequest } from '../connections/refresh-request.ts';
import type { ClaimedConnection, DueApp, SweepStore } from '../connections/sweep.ts';
import type { ProviderCatalogue } from '../oauth/provider-catalogue.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';

/** As much of the port to Temporal as the sweep uses. */
export interface RefreshStarter {
  /** Starts or joins the refresh of a connection, and awaits that run. */
  refresh(
    request: RefreshRequest,
    signal: AbortSignal,
    /** Called when Temporal has taken the start. */
    onStarted: () => void,
  ): Promise<RefreshResult | undefined>;
}

export interface SweepLimits {
  /** Refreshes under way at once, of all apps: half the slots of a worker. */
  openMax: number;
  /** The same of one app. */
  openOfAppMax: number;
  startsPerSecond: number;
  startsPerSecondOfApp: number;
}

export interface SweepDependencies {
  sweep: SweepStore;
  refreshes: RefreshStarter;
  providers: Pick<ProviderCatalogue, 'resolve'>;
  limits: SweepLimits;
  clock: Pick<Clock, 'monotonicMs'>;
  sleep: (ms: number) => Promise<void>;
  /** A random number in [0, 1). */
  random: () => number;
  /** Aborted when the process is about to end: what is claimed then comes back by itself. */
  stopping: AbortSignal;
  log: Pick<Logger, 'info' | 'warn'>;
}

/** What one sweep did. */
export interface SweepSummary {
  started: number;
  /** That ended with a new token. */
  refreshed: number;
  /** Not started, for their app may not send yet. */
  putOff: number;
}

/** Apps that are looked at for one page. */
const appsMax = 1_000;
const pageMs = 1_000;
/** A page that is nearly empty is spread as if it held this part of what a second may. */
const pageShareMin = 0.1;
/** While everything that may be open is. */
const saturatedPauseMs = 200;
/** While nothing more is due, but refreshes of this sweep are under way. */
const idlePauseMs = 1_000;
/** Starts that Temporal has not taken yet: where it is slow, the sweep is too, and callers get through. */
const startingMax = 8;
const startingPauseMs = 20;
/** Before an app is looked at again all of whose claimed connections had to be put off. */
const closedAppPauseMs = 10_000;
/** The next sweep goes on where this one ended. */
const sweepMaxMs = 240_000;
/** As long as an exchange may take, whose slot counts as taken until then; what takes longer sleeps. */
const openAtMostMs = 80_000;
/** Of what an app or its provider allows, the rest is for those who ask. */
const sweepShare = 0.5;

/**
 * Refreshes what is due, the longest due first: page by page, spread over each second, at most so many
 * under way at once. It goes on as long as a refresh of its own does, so that one provider that hangs holds
 * up no other's connections. `beat` is called between pages.
 */
export async function sweepDue(
  dependencies: SweepDependencies,
  beat: () => void,
): Promise<SweepSummary> {
  const { clock, sleep, stopping } = dependencies;
  const sweep = new Sweep(dependencies, beat);
  const endMs = clock.monotonicMs() + sweepMaxMs;
  while (!stopping.aborted && clock.monotonicMs() < endMs) {
    const page = await sweep.startPage();
    if (page === 'nothing_due' && !sweep.hasOpen()) break;
    if (page !== 'started') await sleep(page === 'saturated' ? saturatedPauseMs : idlePauseMs);
  }
  await sweep.ended();
  return sweep.summary;
}

class Sweep {
  readonly summary: SweepSummary = { started: 0, refreshed: 0, putOff: 0 };
  readonly #dependencies: SweepDependencies;
  readonly #openByApp = new Map<string, number>();
  /** By the monotonic clock, when to look again at apps whose gate is closed. */
  readonly #closedUntilMs = new Map<string, number>();
  readonly #beat: () => void;
  #open = 0;
  #starting = 0;

  constructor(dependencies: SweepDependencies, beat: () => void) {
    this.#dependencies = dependencies;
    this.#beat = beat;
  }

  hasOpen(): boolean {
    return this.#open > 0;
  }

  async startPage(): Promise<'started' | 'saturated' | 'nothing_due'> {
    const { sweep, limits, clock, sleep, stopping, random } = this.#dependencies;
    this.#beat();
    const due = await sweep.dueApps(appsMax);
    const nowMs = clock.monotonicMs();
    const apps = due.filter(({ appId }) => (this.#closedUntilMs.get(appId) ?? nowMs) <= nowMs);
    if (apps.length === 0) return 'nothing_due';
    const quotas = apps
      .map((app) => ({ appId: app.appId, quota: this.#quotaOf(app) }))
      .filter(({ quota }) => quota > 0);
    const free = Math.min(limits.openMax - this.#open, limits.startsPerSecond);
    // What a window does not allow now, it may in the next sweep.
    if (quotas.length === 0 || free <= 0) return this.hasOpen() ? 'saturated' : 'nothing_due';
    const { claimed, now } = await sweep.claim(quotas, free);
    const toStart = claimed.filter(({ isPutOff }) => !isPutOff);
    for (const appId of closedApps(claimed)) {
      this.#closedUntilMs.set(appId, nowMs + closedAppPauseMs);
    }
    this.summary.putOff += claimed.length - toStart.length;
    // Others have claimed what there was, or it is locked.
    if (claimed.length === 0) return 'nothing_due';
    const providers = new Map(apps.map(({ appId, provider }) => [appId, provider]));
    const gapMs = pageMs / Math.max(toStart.length, limits.startsPerSecond * pageShareMin);
    for (const connection of toStart) {
      await this.#startsTaken();
      if (stopping.aborted) break;
      this.#start(connection, providers.get(connection.appId) ?? '', now);
      await sleep(gapMs * 2 * random());
    }
    return 'started';
  }

  /** Waits until everything that was started has ended, or takes too long to be waited for. */
  async ended(): Promise<void> {
    const { sleep, stopping } = this.#dependencies;
    while (this.hasOpen() && !stopping.aborted) {
      this.#beat();
      await sleep(saturatedPauseMs);
    }
  }

  async #startsTaken(): Promise<void> {
    const { sleep, stopping } = this.#dependencies;
    while (this.#starting >= startingMax && !stopping.aborted) {
      this.#beat();
      await sleep(startingPauseMs);
    }
  }

  /** How many connections of the app may be started in the next second. */
  #quotaOf(app: DueApp): number {
    const { limits, providers } = this.#dependencies;
    const { concurrency, perWindow } = appSendLimits(
      app.limits,
      definitionLimits(providers, app) ?? { concurrency: null },
    );
    const openMax =
      concurrency === null
        ? limits.openOfAppMax
        : Math.min(Math.max(Math.floor(concurrency * sweepShare), 1), limits.openOfAppMax);
    const open = this.#openByApp.get(app.appId) ?? 0;
    const ofWindow =
      perWindow === null
        ? Infinity
        : Math.max(Math.floor(perWindow.count * sweepShare), 1) - app.recentSends - open;
    return Math.max(Math.min(openMax - open, ofWindow, limits.startsPerSecondOfApp), 0);
  }

  #start(connection: ClaimedConnection, provider: string, requestedAt: Date): void {
    const { refreshes, log } = this.#dependencies;
    const { connectionId, tenantId, appId, tokenVersion, isProbe } = connection;
    this.summary.started += 1;
    this.#count(appId, 1);
    const request = {
      connectionId,
      tenantId,
      provider,
      newerThan: tokenVersion,
      trigger: isProbe ? ('probe' as const) : ('sweep' as const),
      requestedAt,
      traceparent: '',
    };
    let isStarting = true;
    const started = (): void => {
      if (isStarting) this.#starting -= 1;
      isStarting = false;
    };
    this.#starting += 1;
    void refreshes
      .refresh(request, AbortSignal.timeout(openAtMostMs), started)
      .then(
        (result) => {
          if (result?.outcome === 'refreshed') this.summary.refreshed += 1;
        },
        (error: unknown) => {
          // It goes on, or comes back once its claim is over.
          const isOverdue = error instanceof DOMException && error.name === 'TimeoutError';
          if (!isOverdue) log.warn({ connection_id: connectionId, err: error }, 'not started');
        },
      )
      .finally(() => {
        started();
        this.#count(appId, -1);
      });
  }

  #count(appId: string, by: 1 | -1): void {
    this.#open += by;
    const open = (this.#openByApp.get(appId) ?? 0) + by;
    if (open === 0) this.#openByApp.delete(appId);
    else this.#openByApp.set(appId, open);
  }
}

/** Apps of which nothing may be sent, at none of their hosts that were met. */
function closedApps(claimed: ClaimedConnection[]): Set<string> {
  const closed = new Set(claimed.map(({ appId }) => appId));
  for (const { appId, isPutOff } of claimed) if (!isPutOff) closed.delete(appId);
  return closed;
}

/** Undefined: the definition does not hold any more, which the exchange will tell. */
function definitionLimits(
  providers: SweepDependencies['providers'],
  { provider, overrides }: DueApp,
): { concurrency: number | null } | undefined {
  try {
    return providers.resolve(provider, overrides).limits;
  } catch {
    return undefined;
  }
}
