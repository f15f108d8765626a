import {
  sealedTables,
  type KeyUse,
  type ResealedRow,
  type ResealStore,
  type SealedTable,
  type StaleRow,
} from './reseal.ts';
import { queryStore, type Queryable } from './store-query.ts';
import { dpopKeyGeneration, type SealedKind } from './token-vault.ts';

interface SealedColumn {
  sealed: string;
  /** Its data key. */
  key: string;
  /** PostgreSQL derives the key from the sealed value. */
  isKeyDerived?: true;
  /** SQL: what the seal binds beside tenant and owner. */
  kind: string;
  generation: string;
}

interface TableLayout {
  /** Primary key, and its type. */
  id: string;
  idType: 'text' | 'bigint';
  /** SQL: whose value it is, for the seal. */
  tenantId: string;
  ownerId: string;
  join?: string;
  columns: SealedColumn[];
}

const kind = (name: SealedKind) => `'${name}'`;

/** Every column with a sealed value; a test holds it to the foreign keys of data_keys. */
const layouts: Record<SealedTable, TableLayout> = {
  connections: {
    id: 'id',
    idType: 'text',
    tenantId: 't.tenant_id',
    ownerId: 't.id',
    columns: [
      {
        sealed: 'sealed_access_token',
        key: 'access_key_id',
        kind: kind('access-token'),
        generation: 't.generation',
      },
      {
        sealed: 'sealed_refresh_token',
        key: 'refresh_key_id',
        kind: kind('refresh-token'),
        generation: 't.generation',
      },
      {
        sealed: 'sealed_dpop_key',
        key: 'dpop_key_id',
        kind: kind('dpop-key'),
        generation: String(dpopKeyGeneration),
      },
    ],
  },
  apps: {
    id: 'id',
    idType: 'text',
    tenantId: `''`,
    ownerId: 't.id',
    columns: [
      {
        sealed: 'sealed_client_secrets',
        key: 'client_secrets_key_id',
        kind: kind('client-secrets'),
        generation: 't.generation',
      },
    ],
  },
  revocations: {
    id: 'id',
    idType: 'bigint',
    tenantId: 't.tenant_id',
    ownerId: 't.connection_id',
    columns: [
      {
        sealed: 'sealed_token',
        key: 'data_key_id',
        kind: `case t.token_kind when 'refresh_token' then ${kind('refresh-token')} else ${kind('access-token')} end`,
        generation: 't.generation',
      },
    ],
  },
  refresh_intents: {
    id: 'connection_id',
    idType: 'text',
    tenantId: 'c.tenant_id',
    ownerId: 't.connection_id',
    join: 'join connections c on c.id = t.connection_id',
    columns: [
      {
        sealed: 'late_sealed',
        key: 'late_key_id',
        isKeyDerived: true,
        kind: kind('sealed-result'),
        generation: 't.generation',
      },
    ],
  },
};

interface PageRow {
  id: string;
  tenant_id: string;
  owner_id: string;
  is_stale: boolean[];
  sealed: (Buffer | null)[];
  kinds: SealedKind[];
  /** bigint: `pg` gives these as strings. */
  generations: string[];
}

export function createResealStore(store: Queryable): ResealStore {
  return {
    async page(table, retiredKeyIds, after, limit) {
      const rows = await queryStore<PageRow>(store, {
        name: `list-stale-${table}`,
        text: pageSql(table),
        values: [retiredKeyIds, after ?? (layouts[table].idType === 'bigint' ? '0' : ''), limit],
      });
      return rows.map(staleRowFrom);
    },

    async replace(table, rows) {
      if (rows.length === 0) return 0;
      const written = await queryStore(store, {
        name: `reseal-${table}`,
        text: replaceSql(table),
        values: replaceValues(table, rows),
      });
      return written.length;
    },

    async countStale(retiredKeyIds, limit) {
      const [row] = await queryStore<{ count: number }>(store, {
        name: 'count-stale-rows',
        text: `select count(*)::integer as count from (
          ${sealedTables
            .map((table) => `select 1 from ${table} t where ${isStale(layouts[table])}`)
            .join(' union all ')} limit $2) as stale`,
        values: [retiredKeyIds, limit],
      });
      return row?.count ?? 0;
    },
  };
}

/** Counts each use of each data key. Reads whole indexes: minutes where there are many millions. */
export async function countKeyUses(store: Queryable): Promise<KeyUse[]> {
  const uses: KeyUse[] = [];
  for (const table of sealedTables) {
    for (const { key, sealed } of layouts[table].columns) {
      const rows = await queryStore<{ id: string; count: number }>(store, {
        name: `count-uses-${table}-${key}`,
        text: `select ${key} as id, count(*)::integer as count from ${table}
          where ${key} is not null group by ${key}`,
        values: [],
      });
      for (const { id, count } of rows) {
        uses.push({ dataKeyId: id, table, column: sealed, count });
      }
    }
  }
  return uses;
}

/** Columns that refer to data keys, as `table.column`. */
export function listKeyColumns(): string[] {
  return sealedTables.flatMap((table) =>
    layouts[table].columns.map(({ key }) => `${table}.${key}`),
  );
}

function isStale({ columns }: TableLayout): string {
  return `(${columns.map(({ key }) => `t.${key} = any($1::uuid[])`).join(' or ')})`;
}

function pageSql(table: SealedTable): string {
  const layout = layouts[table];
  const { id, idType, tenantId, ownerId, join = '', columns } = layout;
  const array = (of: (column: SealedColumn) => string) => `array[${columns.map(of).join(', ')}]`;
  return `select t.${id}::text as id, ${tenantId} as tenant_id, ${ownerId} as owner_id,
      ${array(({ key }) => `coalesce(t.${key} = any($1::uuid[]), false)`)} as is_stale,
      ${array(({ sealed }) => `t.${sealed}`)} as sealed,
      ${array((column) => `${column.kind}::text`)} as kinds,
      ${array(({ generation }) => `${generation}::text`)} as generations
    from ${table} t ${join}
    where t.${id} > $2::${idType} and ${isStale(layout)}
    order by t.${id} limit $3`;
}

function staleRowFrom(row: PageRow): StaleRow {
  const values = row.kinds.flatMap((kindOfColumn, column) => {
    const bytes = row.sealed[column] ?? null;
    if (row.is_stale[column] !== true || bytes === null) return [];
    const generation = Number(row.generations[column]);
    const owner = { tenantId: row.tenant_id, id: row.owner_id, generation };
    return [{ column, kind: kindOfColumn, owner, bytes }];
  });
  return { id: row.id, values };
}

/**
 * The lock leaves room for foreign keys to the row, and the condition is judged again on the version
 * that was locked.
 */
function replaceSql(table: SealedTable): string {
  const { id, idType, columns } = layouts[table];
  const each = (of: (column: SealedColumn, at: number) => string, separator: string) =>
    columns.map(of).join(separator);
  const parameter = (at: number, offset: number) => `$${2 + 3 * at + offset}`;
  const isAsRead = each(
    ({ sealed }, at) => `(g.before_${at} is null or t.${sealed} = g.before_${at})`,
    ' and ',
  );
  return `with given as (
      select * from unnest($1::${idType}[], ${each(
        (_, at) =>
          `${parameter(at, 0)}::bytea[], ${parameter(at, 1)}::bytea[], ${parameter(at, 2)}::uuid[]`,
        ', ',
      )}) as g (id, ${each((_, at) => `before_${at}, after_${at}, key_${at}`, ', ')})
    ), free as (
      select t.${id} as free_id from ${table} t join given g on g.id = t.${id}
      where ${isAsRead} for no key update of t skip locked
    )
    update ${table} t set ${each(
      ({ sealed, key, isKeyDerived }, at) =>
        [
          `${sealed} = coalesce(g.after_${at}, t.${sealed})`,
          ...(isKeyDerived === true ? [] : [`${key} = coalesce(g.key_${at}, t.${key})`]),
        ].join(', '),
      ', ',
    )}
    from given g join free f on f.free_id = g.id
    where t.${id} = g.id and ${isAsRead}
    returning t.${id}`;
}

/** The parameters of `replaceSql`: ids, then before, after and key of each column. */
function replaceValues(table: SealedTable, rows: readonly ResealedRow[]): unknown[] {
  const values = layouts[table].columns.flatMap((_, column) => {
    const ofColumn = rows.map((row) => row.values.find((value) => value.column === column));
    return [
      ofColumn.map((value) => value?.before ?? null),
      ofColumn.map((value) => value?.after.bytes ?? null),
      ofColumn.map((value) => value?.after.dataKeyId ?? null),
    ];
  });
  return [rows.map(({ id }) => id), ...values];
}
