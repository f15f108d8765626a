import { TokenManagerError, type ResealPosition } from '../client/contract.ts';
import {
  sealedTables,
  type ResealedRow,
  type ResealStore,
  type SealedTable,
  type StaleRow,
  type StaleValue,
} from '../connections/reseal.ts';
import type { Sealer, TokenVault } from '../connections/token-vault.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/log.ts';
import type { DataKeyStore } from '../vault/data-key-store.ts';

/** Rows of one statement; they are locked while it runs, for some milliseconds. */
const pageSize = 100;
/** How long one Activity goes on. */
const turnMs = 10_000;
/** Counting more would take longer than it is worth. */
const countMax = 1_000_000;

export interface ResealRowsInput {
  at: ResealPosition;
  rowsPerSecond: number;
}

/** What one Activity did. */
export interface ResealStep {
  /** Null: every table has been walked. */
  next: ResealPosition | null;
  resealed: number;
  /** Rows with a value that does not open. */
  unopenable: number;
}

export interface ResealStanding {
  /** Rows that refer to a retired key; at most a million are counted. */
  stale: number;
  /** Until no process seals with a retired key any more. */
  settlesInMs: number;
}

export interface ResealDependencies {
  sealedRows: ResealStore;
  dataKeys: Pick<DataKeyStore, 'listRetired'>;
  vault: TokenVault;
  clock: Pick<Clock, 'monotonicMs'>;
  sleep: (ms: number) => Promise<void>;
  /** Aborted when the process is about to end. */
  stopping: AbortSignal;
  log: Pick<Logger, 'error'>;
}

/** The Activity `resealStanding`: how much is left to be done. */
export async function resealStanding(
  { sealedRows, dataKeys }: ResealDependencies,
  { settleMs }: { settleMs: number },
): Promise<ResealStanding> {
  const retired = await dataKeys.listRetired();
  const newestForMs = Math.min(...retired.map(({ retiredForMs }) => retiredForMs));
  return {
    stale: await sealedRows.countStale(idsOf(retired), countMax),
    settlesInMs: Math.max(settleMs - newestForMs, 0),
  };
}

/**
 * The Activity `resealRows`: for some seconds, opens what retired data keys seal and seals it with the
 * current ones, page by page. A row that somebody writes or holds is left to the next pass. May be
 * repeated from any position; `beat` is told of each one that has been reached.
 */
export async function resealRows(
  dependencies: ResealDependencies,
  { at, rowsPerSecond }: ResealRowsInput,
  beat: (step: ResealStep) => void,
): Promise<ResealStep> {
  const { sealedRows, dataKeys, vault, clock, sleep, stopping } = dependencies;
  // The rotation may be younger than what this process believes.
  vault.forgetCurrentKeys();
  const retiredIds = idsOf(await dataKeys.listRetired());
  const retired = new Set(retiredIds);
  const step = { next: at as ResealPosition | null, resealed: 0, unopenable: 0 };
  const endsAtMs = clock.monotonicMs() + turnMs;
  while (step.next !== null && clock.monotonicMs() < endsAtMs && !stopping.aborted) {
    const startedAtMs = clock.monotonicMs();
    const table = tableOf(step.next);
    const page = await sealedRows.page(table, retiredIds, step.next.after, pageSize);
    const sealer = await vault.sealer();
    const resealed = await Promise.all(page.map((row) => reseal(dependencies, sealer, table, row)));
    const written = resealed.map(({ row }) => row).filter(({ values }) => values.length > 0);
    if (written.some((row) => row.values.some(({ after }) => retired.has(after.dataKeyId)))) {
      // This process cannot have the current key now, or there was a rotation since the list was read.
      throw new TokenManagerError('key_service_unavailable', {
        detail: 'This process seals with a retired data key, for it cannot have the current one.',
      });
    }
    step.resealed += await sealedRows.replace(table, written);
    step.unopenable += resealed.filter(({ isWhole }) => !isWhole).length;
    step.next = positionAfter(table, page);
    beat({ ...step });
    const tookMs = clock.monotonicMs() - startedAtMs;
    // A database that is slow gets as long a rest as the page took.
    await sleep(Math.max((1_000 * page.length) / rowsPerSecond - tookMs, tookMs));
  }
  return step;
}

async function reseal(
  { vault, log }: ResealDependencies,
  sealer: Sealer,
  table: SealedTable,
  { id, values }: StaleRow,
): Promise<{ row: ResealedRow; isWhole: boolean }> {
  const resealed: ResealedRow['values'] = [];
  for (const value of values) {
    const after = await resealValue(vault, sealer, value);
    if (after !== undefined) resealed.push({ column: value.column, before: value.bytes, after });
    else
      log.error({ table, id, kind: value.kind }, 'a sealed value does not open; it stays as it is');
  }
  return { row: { id, values: resealed }, isWhole: resealed.length === values.length };
}

/** Undefined: it does not open. */
async function resealValue(
  vault: TokenVault,
  sealer: Sealer,
  { kind, owner, bytes }: StaleValue,
): Promise<ReturnType<Sealer['seal']> | undefined> {
  try {
    return sealer.seal(kind, owner, await vault.open(kind, owner, bytes));
  } catch (error) {
    if (error instanceof TokenManagerError && error.code === 'internal') return undefined;
    throw error;
  }
}

function positionAfter(table: SealedTable, page: StaleRow[]): ResealPosition | null {
  const last = page.at(-1);
  if (last !== undefined && page.length === pageSize) return { table, after: last.id };
  const following = sealedTables[sealedTables.indexOf(table) + 1];
  return following === undefined ? null : { table: following, after: null };
}

function tableOf({ table: name }: ResealPosition): SealedTable {
  const table = sealedTables.find((each) => each === name);
  if (table === undefined) throw new Error(`there is no table ${name} with sealed values`);
  return table;
}

function idsOf(keys: { id: string }[]): string[] {
  return keys.map(({ id }) => id);
}
