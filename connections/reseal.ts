import type { SealedKind, SealedOwner, SealedValue } from './token-vault.ts';

/** Tables with sealed values, in the order in which a re-seal walks them. */
export const sealedTables = ['connections', 'apps', 'revocations', 'refresh_intents'] as const;
export type SealedTable = (typeof sealedTables)[number];

/** One sealed value of a row that a retired data key seals. */
export interface StaleValue {
  /** Position among the sealed columns of its table. */
  column: number;
  kind: SealedKind;
  owner: SealedOwner;
  bytes: Buffer;
}

export interface StaleRow {
  /** Primary key of its table, as text; rows come in its order. */
  id: string;
  values: StaleValue[];
}

/** A row whose stale values were sealed with the current key; the same columns. */
export interface ResealedRow {
  id: string;
  values: { column: number; before: Buffer; after: SealedValue }[];
}

/** How many sealed values a data key holds, by the column they lie in. */
export interface KeyUse {
  dataKeyId: string;
  table: SealedTable;
  column: string;
  count: number;
}

/** The rows of all tables whose values retired data keys seal. Every call throws `store_unavailable`. */
export interface ResealStore {
  /** The next rows behind `after`, in order of their ids; null begins. */
  page(
    table: SealedTable,
    retiredKeyIds: readonly string[],
    after: string | null,
    limit: number,
  ): Promise<StaleRow[]>;
  /**
   * Stores what was sealed anew, of each row only if every value is still the one that was read. Waits
   * for nobody: a row that is locked is left as it is. Touches no counter and tells nobody. Returns how
   * many rows it has written.
   */
  replace(table: SealedTable, rows: readonly ResealedRow[]): Promise<number>;
  /** How many rows refer to one of these keys; counting ends at `limit`. */
  countStale(retiredKeyIds: readonly string[], limit: number): Promise<number>;
}
