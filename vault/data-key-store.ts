import { TokenManagerError } from '../client/contract.ts';

/** What a data key is for; a value sealed for one purpose never opens with a key of another. */
export type DataKeyPurpose =
  | 'access'
  | 'refresh'
  | 'app'
  | 'webhook'
  | 'sealed-result'
  /** The HMAC key of refresh-token fingerprints: rewrapped but never replaced. */
  | 'fingerprint';

export interface DataKeyRow {
  /** A UUID in lower case. */
  id: string;
  purpose: DataKeyPurpose;
  wrapped: Buffer;
  /** Name of the key provider that wrapped it. */
  keyProvider: string;
  keyVersion: string;
}

/** Purposes whose key can give way to a new one. */
export const replaceablePurposes = ['access', 'refresh', 'app', 'sealed-result'] as const;
export type ReplaceablePurpose = (typeof replaceablePurposes)[number];

export interface StoredDataKey extends DataKeyRow {
  createdAt: Date;
  /** When another one took its place; null while it is the current one of its purpose. */
  retiredAt: Date | null;
}

export interface RetiredDataKey {
  id: string;
  /** Since it was replaced. */
  retiredForMs: number;
}

/** Why a data key is still there, or that it is not: `unknown` has never been, or is gone. */
export type DropOutcome = 'dropped' | 'current' | 'too_recent' | 'in_use' | 'unknown';

/** The key that a purpose seals with, and how used up it is. */
export interface CurrentDataKeyRow extends DataKeyRow {
  ageSeconds: number;
  /** Those that processes have told of. */
  seals: number;
}

/** The part of a pg Pool that is used here; its timeouts are the pool's. */
export interface Queryable {
  query(text: string, values: unknown[]): Promise<{ rows: unknown[] }>;
}

/** The table data_keys. Every call throws `store_unavailable` when PostgreSQL cannot be asked. */
export interface DataKeyStore {
  findById(id: string): Promise<DataKeyRow | undefined>;
  findCurrent(purpose: DataKeyPurpose): Promise<CurrentDataKeyRow | undefined>;
  /** Newest first. */
  list(limit: number): Promise<StoredDataKey[]>;
  /** Changes nothing when the purpose has a current key: the first writer wins. */
  insertCurrent(row: DataKeyRow): Promise<void>;
  /**
   * Retires the current key of the row's purpose and puts the row in its place, in one statement. Changes
   * nothing when `retiredId` is not the current one any more: the first writer wins.
   */
  replaceCurrent(retiredId: string, row: DataKeyRow): Promise<void>;
  /** Adds to what the key has sealed. */
  addSeals(id: string, seals: number): Promise<void>;
  /** Keys that another one has replaced: what they seal can be sealed anew. */
  listRetired(): Promise<RetiredDataKey[]>;
  /** Stores another wrapping of the same key, if the one that it replaces is still there. */
  rewrap(row: DataKeyRow, replaced: Buffer): Promise<boolean>;
  /**
   * Deletes a key for good, if it was retired longer ago than that and no row refers to it. Whoever
   * seals with it at that very moment loses: the row refuses the value.
   */
  drop(id: string, retiredForMs: number): Promise<DropOutcome>;
}

const foreignKeyViolation = '23503';

const columns = `id, purpose, wrapped, key_provider as "keyProvider", key_version as "keyVersion"`;
const findByIdSql = `select ${columns} from data_keys where id = $1`;
const findCurrentSql = `
  select ${columns}, seals::float8 as seals,
    extract(epoch from now() - created_at)::float8 as "ageSeconds"
  from data_keys where purpose = $1 and retired_at is null`;
const listSql = `
  select ${columns}, created_at as "createdAt", retired_at as "retiredAt" from data_keys
  order by created_at desc, id limit $1`;
const insertCurrentSql = `
  insert into data_keys (id, purpose, wrapped, key_provider, key_version)
  values ($1, $2, $3, $4, $5)
  on conflict (purpose) where retired_at is null do nothing`;

const replaceCurrentSql = `
  with retired as (
    update data_keys set retired_at = now() where id = $6 and retired_at is null returning id
  )
  insert into data_keys (id, purpose, wrapped, key_provider, key_version)
  select $1, $2, $3, $4, $5 from retired
  on conflict (purpose) where retired_at is null do nothing`;
const addSealsSql = `update data_keys set seals = seals + $2 where id = $1`;
const listRetiredSql = `
  select id,
    (extract(epoch from clock_timestamp() - retired_at) * 1000)::float8 as "retiredForMs"
  from data_keys where retired_at is not null order by id`;
const rewrapSql = `
  update data_keys set wrapped = $3, key_provider = $4, key_version = $5
  where id = $1 and purpose = $2 and wrapped = $6 returning id`;
const dropSql = `
  with found as (
    select id, retired_at,
      retired_at < clock_timestamp() - make_interval(secs => $2::float8 / 1000) as is_old
    from data_keys where id = $1
  ), dropped as (
    delete from data_keys d using found where d.id = found.id and found.is_old returning d.id
  )
  select found.retired_at is null as "isCurrent", found.is_old is true as "isOld" from found
  left join dropped using (id)`;

export function createDataKeyStore(pool: Queryable): DataKeyStore {
  async function ask<Row = DataKeyRow>(text: string, values: unknown[]): Promise<Row[]> {
    try {
      const { rows } = await pool.query(text, values);
      // The column lists above name exactly the members of a row.
      return rows as Row[];
    } catch (cause) {
      throw new TokenManagerError('store_unavailable', { cause });
    }
  }
  return {
    list: (limit) => ask<StoredDataKey>(listSql, [limit]),
    findById: async (id) => (await ask(findByIdSql, [id]))[0],
    findCurrent: async (purpose) => (await ask<CurrentDataKeyRow>(findCurrentSql, [purpose]))[0],
    insertCurrent: async (row) => {
      await ask(insertCurrentSql, columnsOf(row));
    },
    replaceCurrent: async (retiredId, row) => {
      await ask(replaceCurrentSql, [...columnsOf(row), retiredId]);
    },
    addSeals: async (id, seals) => {
      await ask(addSealsSql, [id, seals]);
    },
    listRetired: () => ask<RetiredDataKey>(listRetiredSql, []),
    rewrap: async (row, replaced) =>
      (await ask(rewrapSql, [...columnsOf(row), replaced])).length === 1,
    async drop(id, retiredForMs) {
      try {
        const [found] = await ask<{ isCurrent: boolean; isOld: boolean }>(dropSql, [
          id,
          retiredForMs,
        ]);
        if (found === undefined) return 'unknown';
        if (found.isCurrent) return 'current';
        return found.isOld ? 'dropped' : 'too_recent';
      } catch (error) {
        if (isForeignKeyViolation(error)) return 'in_use';
        throw error;
      }
    },
  };
}

function columnsOf(row: DataKeyRow): unknown[] {
  return [row.id, row.purpose, row.wrapped, row.keyProvider, row.keyVersion];
}

function isForeignKeyViolation(error: unknown): boolean {
  if (!(error instanceof TokenManagerError)) return false;
  const { cause } = error;
  return cause instanceof Error && 'code' in cause && cause.code === foreignKeyViolation;
}
