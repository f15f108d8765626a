import { TokenManagerError } from '../client/contract.ts';
import type { ConnectionRegistryDependencies } from './connection-registry.ts';
import { isExclusive, lockExclusiveTokens } from './exclusive-tokens.ts';
import { createConnectionImport } from './import-connection.ts';
import {
  draftRow,
  examineImport,
  loadImportApp,
  requireApp,
  requireCredentials,
  type ExaminedImport,
  type ImportApp,
  type ImportedRow,
  type ImportSubject,
} from './imported-row.ts';
import { readClock } from './read-clock.ts';
import type { ConnectionInput } from './registry.ts';
import { inTransaction } from './store-query.ts';
import { findHolders, readStoredConnections, readTombstones } from './stored-connections.ts';
import type { Sealer } from './token-vault.ts';
import { insertConnections, updateConnectionFacts } from './write-imported.ts';

/**
 * Rows of one transaction. Each holds an advisory lock, of which PostgreSQL has at least some thousands for
 * all transactions together.
 */
const rowsAtOnceMax = 500;
/** Imports by themselves at once: a quarter of a pool. */
const singlesAtOnce = 5;
/** What no other import would fare better with: the whole is to be repeated. */
const passing = new Set(['store_unavailable', 'key_service_unavailable']);

export interface BulkConnection {
  id: string;
  input: ConnectionInput;
}

/** As of `PUT`: `created` a new one, `stored` new credentials, else what is stored was kept. */
export type BulkOutcome =
  | { outcome: 'created' | 'stored' | 'kept' | 'kept_newer' }
  | { outcome: 'refused'; error: TokenManagerError };

export type BulkImport = (imports: readonly BulkConnection[]) => Promise<BulkOutcome[]>;

/** One import on its way through a bulk. */
interface Item extends BulkConnection {
  index: number;
  fingerprint: Buffer | null;
}

interface ExaminedItem extends ImportSubject {
  item: Item;
  examined: ExaminedImport;
}

/**
 * Many imports, each with the end that `PUT` would have; outcomes in the order of the imports. What is new, and
 * what is stored already, is written many rows a statement; whatever needs more judgement than that goes
 * the way of `PUT` by itself. Idempotent as that is: throws `store_unavailable` or `key_service_unavailable` with a
 * part of it written, and is then to be repeated.
 */
export function createBulkImport(dependencies: ConnectionRegistryDependencies): BulkImport {
  const { store, vault, apps, providers, random } = dependencies;
  const importConnection = createConnectionImport(dependencies);

  return async (imports) => {
    const outcomes: BulkOutcome[] = [];
    for (let at = 0; at < imports.length; at += rowsAtOnceMax) {
      outcomes.push(...(await importRows(imports.slice(at, at + rowsAtOnceMax))));
    }
    return outcomes;
  };

  async function importRows(imports: readonly BulkConnection[]): Promise<BulkOutcome[]> {
    const sealer = await vault.sealer();
    const appOf = await loadApps(imports);
    const items = imports.map(({ id, input }, index) => ({
      id,
      input,
      index,
      fingerprint: input.refreshToken === undefined ? null : sealer.fingerprint(input.refreshToken),
    }));
    const { once, again } = withoutRepeats(items);
    const outcomes = new Map<number, BulkOutcome>();
    const sorted = await sortItems(once, { appOf, sealer, outcomes });
    const left = [
      ...(await keepAll(sorted.known, outcomes)),
      ...(await insertAll(sorted.unknown, sealer, outcomes)),
    ];
    await importSingly(sorted.single, outcomes);
    // The token that held one of these back may have been given away since.
    await importSingly(left, outcomes);
    for (const item of again) await importSingly([item], outcomes);
    return items.map(({ index }) => {
      const outcome = outcomes.get(index);
      if (outcome === undefined) throw new Error('an import was left out');
      return outcome;
    });
  }

  /** The app of an import; throws `app_not_found`, and what its definition is at fault with. */
  async function loadApps(
    imports: readonly BulkConnection[],
  ): Promise<(input: ConnectionInput) => ImportApp> {
    const loaded = new Map<string, () => ImportApp | undefined>();
    for (const appId of new Set(imports.map(({ input }) => input.appId))) {
      try {
        const app = await loadImportApp({ apps, providers }, appId);
        loaded.set(appId, () => app);
      } catch (error) {
        const refused = refusal(error);
        loaded.set(appId, () => {
          throw refused;
        });
      }
    }
    return (input) => requireApp(loaded.get(input.appId)?.(), input.tenantId);
  }

  /** Which imports are of connections that are not there, which change no credentials, and which are neither. */
  async function sortItems(
    items: Item[],
    {
      appOf,
      sealer,
      outcomes,
    }: {
      appOf: (input: ConnectionInput) => ImportApp;
      sealer: Sealer;
      outcomes: Map<number, BulkOutcome>;
    },
  ): Promise<{ unknown: ExaminedItem[]; known: ExaminedItem[]; single: Item[] }> {
    const ids = items.map(({ id }) => id);
    const stored = await readStoredConnections(store, ids);
    const buried = await readTombstones(
      store,
      ids.filter((id) => !stored.has(id)),
    );
    const holders = await findHolders(
      store,
      items.flatMap(({ id, fingerprint }) =>
        fingerprint !== null && stored.has(id) ? [{ connectionId: id, fingerprint }] : [],
      ),
    );
    const sorted = {
      unknown: new Array<ExaminedItem>(),
      known: new Array<ExaminedItem>(),
      single: new Array<Item>(),
    };
    for (const item of items) {
      const { id, input, fingerprint } = item;
      const found = stored.get(id);
      const isOwn =
        found?.connection.tenantId === input.tenantId &&
        found.connection.appId === input.appId &&
        found.connection.deletedAt === null;
      const holds = fingerprint !== null && holders.has(id);
      if (buried.has(id) || (found !== undefined && !(isOwn && holds))) {
        sorted.single.push(item);
        continue;
      }
      try {
        const subject = { connectionId: id, input, app: appOf(input), stored: found };
        const examined = examineImport(subject, { sealer, providers });
        const at = { ...subject, item, examined };
        if (found === undefined) {
          requireCredentials(input, subject.app.facts.credential);
          sorted.unknown.push(at);
        } else if (fingerprint !== null && found.refreshFingerprint?.equals(fingerprint) === true) {
          sorted.known.push(at);
        } else {
          outcomes.set(item.index, { outcome: 'kept_newer' });
        }
      } catch (error) {
        outcomes.set(item.index, { outcome: 'refused', error: refusal(error) });
      }
    }
    return sorted;
  }

  /** Answers those that are others' by now. */
  async function keepAll(
    known: ExaminedItem[],
    outcomes: Map<number, BulkOutcome>,
  ): Promise<Item[]> {
    if (known.length === 0) return [];
    const kept = known.flatMap(({ stored, input, examined }) =>
      stored === undefined ? [] : [{ stored, input, examined }],
    );
    const updated = await updateConnectionFacts(store, kept);
    return settle(known, updated, 'kept', outcomes);
  }

  /** Answers those that need a look of their own: their id or their token is taken. */
  async function insertAll(
    unknown: ExaminedItem[],
    sealer: Sealer,
    outcomes: Map<number, BulkOutcome>,
  ): Promise<Item[]> {
    if (unknown.length === 0) return [];
    const drafts = unknown.map((each) => ({ ...each, rowAt: draft(each, sealer) }));
    try {
      const inserted = await inTransaction(store, async (transaction) => {
        const exclusive = drafts.flatMap(({ item, app, input }) =>
          item.fingerprint !== null && isExclusive(app.facts.rotationClass)
            ? [{ id: item.id, appId: input.appId, fingerprint: item.fingerprint, ownId: null }]
            : [],
        );
        const isHeld = await lockExclusiveTokens(transaction, exclusive);
        const held = new Set(exclusive.filter((_, at) => isHeld[at]).map(({ id }) => id));
        const now = await readClock(transaction);
        const free = drafts.filter(({ item }) => !held.has(item.id));
        return insertConnections(
          transaction,
          free.map(({ rowAt }) => rowAt(now)),
        );
      });
      return settle(unknown, inserted, 'created', outcomes);
    } catch (error) {
      if (error instanceof TokenManagerError) throw error;
      // A fault of one row, such as an app that was deleted just now, refuses the statement: each by itself.
      return unknown.map(({ item }) => item);
    }
  }

  function draft({ item, ...subject }: ExaminedItem, sealer: Sealer): (now: Date) => ImportedRow {
    const { accessToken, refreshToken } = subject.input;
    return draftRow(
      {
        ...subject,
        fingerprint: item.fingerprint,
        tokens: { access: accessToken ?? null, refresh: refreshToken ?? null },
        generation: 1,
      },
      { sealer, providers, random },
    );
  }

  /** By `PUT`'s own way, some at once. */
  async function importSingly(items: Item[], outcomes: Map<number, BulkOutcome>): Promise<void> {
    const waiting = [...items];
    const work = async (): Promise<void> => {
      for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
        outcomes.set(item.index, await importOne(item));
      }
    };
    const ends = await Promise.allSettled(Array.from({ length: singlesAtOnce }, work));
    // Thrown only now, when nothing of this is under way any more.
    const failed = ends.find((end) => end.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  async function importOne({ id, input }: Item): Promise<BulkOutcome> {
    try {
      const { created, credentials } = await importConnection(id, input);
      return { outcome: created ? 'created' : credentials };
    } catch (error) {
      if (error instanceof TokenManagerError && passing.has(error.code)) throw error;
      return { outcome: 'refused', error: refusal(error) };
    }
  }
}

/** An id or a refresh token that came before is looked at after everything else. */
function withoutRepeats(items: Item[]): { once: Item[]; again: Item[] } {
  const seen = new Set<string>();
  const once: Item[] = [];
  const again: Item[] = [];
  for (const item of items) {
    const { id, input, fingerprint } = item;
    const keys = [`id ${id}`];
    if (fingerprint !== null) keys.push(`token ${input.appId} ${fingerprint.toString('base64')}`);
    (keys.some((key) => seen.has(key)) ? again : once).push(item);
    for (const key of keys) seen.add(key);
  }
  return { once, again };
}

/** Notes the outcome of those that were written; answers the others. */
function settle(
  items: ExaminedItem[],
  written: ReadonlySet<string>,
  outcome: 'created' | 'kept',
  outcomes: Map<number, BulkOutcome>,
): Item[] {
  const left: Item[] = [];
  for (const { item } of items) {
    if (written.has(item.id)) outcomes.set(item.index, { outcome });
    else left.push(item);
  }
  return left;
}

function refusal(error: unknown): TokenManagerError {
  if (!(error instanceof TokenManagerError)) {
    return new TokenManagerError('internal', {
      detail: 'The import failed by a fault of the service.',
      cause: error,
    });
  }
  if (passing.has(error.code)) throw error;
  return error;
}
