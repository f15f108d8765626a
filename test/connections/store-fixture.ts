import { createSecretKey, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { createAppRegistry } from '../../connections/app-registry.ts';
import { createConnectionRegistry } from '../../connections/connection-registry.ts';
import type {
  AttemptRecord,
  Claim,
  ClaimRequest,
  Fence,
  SealedTokens,
  Settlement,
  Verdict,
} from '../../connections/exchange.ts';
import { createExchangeStore, type ExchangeStore } from '../../connections/exchange-store.ts';
import type {
  AppRegistry,
  ConnectionInput,
  ConnectionRegistry,
} from '../../connections/registry.ts';
import type { SealedValue, TokenVault } from '../../connections/token-vault.ts';
import { createProviderCatalogue, loadBuiltInProviders } from '../../oauth/provider-catalogue.ts';
import { createDatabaseClock, systemClock } from '../../platform/clock.ts';
import { createMetrics } from '../../platform/metrics.ts';
import { Secret } from '../../platform/secret.ts';
import { createKeyProviders, type KeyProviders } from '../../vault/key-provider.ts';
import { createVault } from '../../vault/create-vault.ts';
import { createLocalKeyProvider } from '../../vault/local-key-provider.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const waitingPollMs = 10;

/** The stores of connections/ over a real vault, the built-in providers and a database of their own. */
export interface StoreFixture {
  database: TestDatabase;
  pool: pg.Pool;
  vault: TokenVault;
  keyProviders: KeyProviders;
  apps: AppRegistry;
  connections: ConnectionRegistry;
  exchanges: ExchangeStore;
  /** An app of the provider `generic`; answers its id. */
  addApp(overrides?: Record<string, unknown>): Promise<string>;
  /** A connection with two tokens of its own, of an app of class F unless named; answers its id. */
  addConnection(members?: Partial<ConnectionInput>): Promise<string>;
  /** Columns of a row of `connections`, bigints as numbers. */
  row(id: string): Promise<Record<string, unknown>>;
  intent(id: string): Promise<Record<string, unknown> | undefined>;
  events(id: string): Promise<{ type: string; data: unknown }[]>;
  /** The attempts log, oldest first. */
  attempts(id: string): Promise<{ outcome: string; class: string | null; code: string | null }[]>;
  /** The database's clock. */
  now(): Promise<Date>;
  set(id: string, assignments: string): Promise<void>;
  setIntent(id: string, assignments: string): Promise<void>;
  /** Tokens sealed for the generation after `generation`. */
  seal(id: string, generation: number, tokens: Partial<PlainTokens>): Promise<SealedTokens>;
  sealResult(id: string, generation: number): Promise<() => SealedValue>;
  openTokens(id: string): Promise<{ access: string | null; refresh: string | null }>;
  /** One connection of the pool inside an open transaction. */
  begin(): Promise<OpenTransaction>;
  /** Resolves when so many statements wait for a lock. */
  untilWaiting(count: number): Promise<void>;
}

export interface OpenTransaction {
  exchanges: ExchangeStore;
  query(text: string, values?: unknown[]): Promise<unknown>;
  commit(): Promise<void>;
}

interface PlainTokens extends Omit<
  SealedTokens,
  'accessToken' | 'refreshToken' | 'refreshFingerprint'
> {
  access: string | null;
  refresh: string | null;
}

export const record: AttemptRecord = { trigger: 'force', runId: 'run-1', durationMs: 12 };
export const tenantId = 'tenant';

export async function createStoreFixture(): Promise<StoreFixture> {
  const database = await createTestDatabase();
  const { pool } = database;
  const keyProviders = createKeyProviders(
    createLocalKeyProvider(createSecretKey(Buffer.alloc(32, 7))),
  );
  const vault = createVault({
    pool,
    keyProviders,
    clock: systemClock,
    metrics: createMetrics({ subsystem: 'test' }),
    log: { warn: () => undefined },
  });
  const providers = createProviderCatalogue({ builtIn: loadBuiltInProviders() });
  const apps = createAppRegistry({ store: pool, vault, providers });
  const connections = createConnectionRegistry({
    store: pool,
    vault,
    apps,
    providers,
    clock: systemClock,
    databaseClock: createDatabaseClock(systemClock),
    random: () => 0,
  });

  async function one(text: string, id: string): Promise<Record<string, unknown> | undefined> {
    const { rows } = await pool.query<Record<string, unknown>>(text, [id]);
    const [found] = rows;
    return found && Object.fromEntries(Object.entries(found).map(readBigint));
  }

  async function addApp(overrides: Record<string, unknown> = {}): Promise<string> {
    const appId = `app-${randomUUID()}`;
    await apps.put(appId, {
      provider: 'generic',
      clientId: 'client',
      overrides: { token_url: 'https://as.example.com/token', ...overrides },
    });
    return appId;
  }

  async function row(id: string): Promise<Record<string, unknown>> {
    const found = await one('select * from connections where id = $1', id);
    if (found === undefined) throw new Error('there is no such connection');
    return found;
  }

  return {
    database,
    pool,
    vault,
    keyProviders,
    apps,
    connections,
    exchanges: createExchangeStore(pool),
    addApp,
    async addConnection(members = {}) {
      const id = `c-${randomUUID()}`;
      await connections.put(id, {
        tenantId,
        appId: members.appId ?? (await addApp()),
        accessToken: new Secret(`at-of-${id}`),
        refreshToken: new Secret(`rt-of-${id}`),
        expiresInSeconds: 3_600,
        ...members,
      });
      return id;
    },
    row,
    intent: (id) => one('select * from refresh_intents where connection_id = $1', id),
    async events(id) {
      const { rows } = await pool.query<{ type: string; data: unknown }>(
        'select type, data from events where connection_id = $1 order by id',
        [id],
      );
      return rows;
    },
    async attempts(id) {
      const { rows } = await pool.query<{ outcome: string; class: string; code: string }>(
        'select outcome, class, code from refresh_log where connection_id = $1 order by id',
        [id],
      );
      return rows;
    },
    async now() {
      const { rows } = await pool.query<{ now: Date }>('select clock_timestamp() as now');
      const [read] = rows;
      if (read === undefined) throw new Error('the database did not tell the time');
      return read.now;
    },
    async set(id, assignments) {
      await pool.query(`update connections set ${assignments} where id = $1`, [id]);
    },
    async setIntent(id, assignments) {
      await pool.query(`update refresh_intents set ${assignments} where connection_id = $1`, [id]);
    },
    async seal(id, generation, { access = 'at-new', refresh = 'rt-new', ...facts }) {
      const sealer = await vault.sealer();
      const owner = { tenantId, id, generation: generation + 1 };
      return {
        accessToken:
          access === null ? null : sealer.seal('access-token', owner, new Secret(access)),
        refreshToken:
          refresh === null ? null : sealer.seal('refresh-token', owner, new Secret(refresh)),
        refreshFingerprint: refresh === null ? null : sealer.fingerprint(new Secret(refresh)),
        isNewAccessToken: true,
        tokenType: 'Bearer',
        scope: null,
        expiresAt: new Date(Date.now() + 3_600_000),
        lifetimeSeconds: 3_600,
        expiryAssumed: false,
        refreshTokenExpiresAt: null,
        refreshDueAt: new Date(Date.now() + 3_300_000),
        metadata: {},
        failure: null,
        ...facts,
      };
    },
    async sealResult(id, generation) {
      const sealer = await vault.sealer();
      const sealed = sealer.seal('sealed-result', { tenantId, id, generation }, new Secret('{}'));
      return () => sealed;
    },
    async openTokens(id) {
      const { generation, ...stored } = await row(id);
      const owner = { tenantId, id, generation: generation as number };
      const open = async (kind: 'access-token' | 'refresh-token', bytes: unknown) =>
        bytes === null ? null : (await vault.open(kind, owner, bytes as Buffer)).reveal();
      return {
        access: await open('access-token', stored['sealed_access_token']),
        refresh: await open('refresh-token', stored['sealed_refresh_token']),
      };
    },
    async begin() {
      const client = await pool.connect();
      await client.query('begin');
      return {
        exchanges: createExchangeStore(client),
        query: (text, values) => client.query(text, values),
        async commit() {
          await client.query('commit');
          client.release();
        },
      };
    },
    async untilWaiting(count) {
      for (;;) {
        const { rows } = await pool.query(
          `select pid from pg_stat_activity
           where datname = current_database() and wait_event_type = 'Lock'`,
        );
        if (rows.length >= count) return;
        await sleep(waitingPollMs);
      }
    },
  };
}

/** `pg` gives bigints as strings; every column of digits here is one. */
function readBigint([name, value]: [string, unknown]): [string, unknown] {
  const bigints = ['generation', 'token_version', 'attempt', 'late_attempt'];
  return [name, bigints.includes(name) && value !== null ? Number(value) : value];
}

/** A first send of generation 1, whose answer can come for a minute. */
export function claimRequest(
  connectionId: string,
  members: Partial<ClaimRequest> = {},
): ClaimRequest {
  return {
    claimId: randomUUID(),
    connectionId,
    generation: 1,
    replayOf: null,
    replayWithinMs: null,
    fingerprint: null,
    workflowRunId: 'run-1',
    answerWithinMs: 60_000,
    rotationClass: 'F',
    tokenHost: null,
    sendsKept: 0,
    isForced: false,
    ...members,
  };
}

/** A claim that must be granted. */
export async function takeClaim(
  exchanges: ExchangeStore,
  request: ClaimRequest,
): Promise<Claim & { claimId: string }> {
  const claim = await exchanges.claim(request);
  if (claim === undefined) throw new Error('the claim was refused');
  return { ...claim, claimId: request.claimId };
}

export function settlement(
  claim: Fence & { claimId: string },
  members: Partial<Settlement> = {},
): Settlement {
  return {
    connectionId: claim.connectionId,
    generation: claim.generation,
    claimId: claim.claimId,
    class: 'transient',
    code: 'http_503',
    isFateOpen: members.class === 'ambiguous',
    isReplayCounted: members.class === 'ambiguous',
    retryAfterMs: 4_000,
    refreshDueAfterMs: members.retryAfterMs ?? 4_000,
    record,
    ...members,
  };
}

export function verdict(claim: Fence & { claimId: string }): Verdict {
  return {
    connectionId: claim.connectionId,
    generation: claim.generation,
    claimId: claim.claimId,
    class: 'permanent',
    code: 'invalid_grant',
    reason: 'revoked',
    record,
  };
}

/** First send and takeover of one connection: the first ended ambiguous, the second is open. */
export async function takeReplay(
  exchanges: ExchangeStore,
  connectionId: string,
): Promise<{ first: Claim & { claimId: string }; second: Claim & { claimId: string } }> {
  const first = await takeClaim(exchanges, claimRequest(connectionId));
  await exchanges.settle(
    settlement(first, { class: 'ambiguous', code: 'ECONNRESET', retryAfterMs: 0 }),
  );
  const second = await takeClaim(
    exchanges,
    claimRequest(connectionId, { replayOf: first.attempt }),
  );
  return { first, second };
}
