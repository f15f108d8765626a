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
  list(limit: number): Promise<DataKeyRow[]>;
  /** Changes nothing when the purpose has a current key: the first writer wins. */
  insertCurrent(row: DataKeyRow): Promise<void>;
  /**
   * Retires the current key of the row's purpose and puts the row in its place, in one statement. Changes
   * nothing when `retiredId` is not the current one any more: the first writer wins.
   */
  replaceCurrent(retiredId: string, row: DataKeyRow): Promise<void>;
  /** Adds to what the key has sealed. */
  addSeals(id: string, seals: number): Promise<void>;
}

const columns = `id, purpose, wrapped, key_provider as "keyProvider", key_version as "keyVersion"`;
const findByIdSql = `select ${columns} from data_keys where id = $1`;
const findCurrentSql = `
  select ${columns}, seals::float8 as seals,
    extract(epoch from now() - created_at)::float8 as "ageSeconds"
  from data_keys where purpose = $1 and retired_at is null`;
const listSql = `select ${columns} from data_keys order by created_at desc, id limit $1`;
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
    list: (limit) => ask(listSql, [limit]),
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
  };
}

function columnsOf(row: DataKeyRow): unknown[] {
  return [row.id, row.purpose, row.wrapped, row.keyProvider, row.keyVersion];
}
