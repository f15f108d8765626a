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

/** The part of a pg Pool that is used here; its timeouts are the pool's. */
export interface Queryable {
  query(text: string, values: unknown[]): Promise<{ rows: unknown[] }>;
}

/** The table data_keys. Every call throws `store_unavailable` when PostgreSQL cannot be asked. */
export interface DataKeyStore {
  findById(id: string): Promise<DataKeyRow | undefined>;
  findCurrent(purpose: DataKeyPurpose): Promise<DataKeyRow | undefined>;
  /** Newest first. */
  list(limit: number): Promise<DataKeyRow[]>;
  /** Changes nothing when the purpose has a current key: the first writer wins. */
  insertCurrent(row: DataKeyRow): Promise<void>;
}

const columns = `id, purpose, wrapped, key_provider as "keyProvider", key_version as "keyVersion"`;
const findByIdSql = `select ${columns} from data_keys where id = $1`;
const findCurrentSql = `select ${columns} from data_keys where purpose = $1 and retired_at is null`;
const listSql = `select ${columns} from data_keys order by created_at desc, id limit $1`;
const insertCurrentSql = `
  insert into data_keys (id, purpose, wrapped, key_provider, key_version)
  values ($1, $2, $3, $4, $5)
  on conflict (purpose) where retired_at is null do nothing`;

export function createDataKeyStore(pool: Queryable): DataKeyStore {
  async function askAll(text: string, values: unknown[]): Promise<DataKeyRow[]> {
    try {
      const { rows } = await pool.query(text, values);
      // The column list above names exactly the members of a DataKeyRow.
      return rows as DataKeyRow[];
    } catch (cause) {
      throw new TokenManagerError('store_unavailable', { cause });
    }
  }
  async function ask(text: string, values: unknown[]): Promise<DataKeyRow | undefined> {
    return (await askAll(text, values))[0];
  }
  return {
    list: (limit) => askAll(listSql, [limit]),
    findById: (id) => ask(findByIdSql, [id]),
    findCurrent: (purpose) => ask(findCurrentSql, [purpose]),
    insertCurrent: async (row) => {
      await ask(insertCurrentSql, [
        row.id,
        row.purpose,
        row.wrapped,
        row.keyProvider,
        row.keyVersion,
      ]);
    },
  };
}
