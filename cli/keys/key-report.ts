import type { KeyUse } from '../../connections/reseal.ts';
import type { StoredDataKey } from '../../vault/data-key-store.ts';

const msPerDay = 86_400_000;
const msPerHour = 3_600_000;
const msPerMinute = 60_000;

/** What `token-manager keys status` tells; `--json` writes it as it is. */
export interface KeyReport {
  data_keys: {
    id: string;
    purpose: string;
    state: 'current' | 'retired';
    created_at: string;
    retired_at: string | null;
    age_seconds: number;
    key_provider: string;
    key_version: string;
    /** Sealed values in rows, all columns together. */
    values: number;
    uses: { column: string; count: number }[];
  }[];
  /** The wrapping keys, with what depends on each. */
  key_versions: { key_provider: string; key_version: string; data_keys: number; values: number }[];
}

export function reportKeys(keys: StoredDataKey[], uses: KeyUse[], now: Date): KeyReport {
  const dataKeys = keys.map((key) => {
    const ofKey = uses.filter(({ dataKeyId }) => dataKeyId === key.id);
    return {
      id: key.id,
      purpose: key.purpose,
      state: key.retiredAt === null ? ('current' as const) : ('retired' as const),
      created_at: key.createdAt.toISOString(),
      retired_at: key.retiredAt?.toISOString() ?? null,
      age_seconds: Math.floor((now.getTime() - key.createdAt.getTime()) / 1_000),
      key_provider: key.keyProvider,
      key_version: key.keyVersion,
      values: sum(ofKey.map(({ count }) => count)),
      uses: ofKey.map(({ table, column, count }) => ({ column: `${table}.${column}`, count })),
    };
  });
  const versions = new Map(
    dataKeys.map(({ key_provider, key_version }) => [
      `${key_provider} ${key_version}`,
      { key_provider, key_version },
    ]),
  );
  return {
    data_keys: dataKeys,
    key_versions: [...versions.values()].map((version) => {
      const under = dataKeys.filter(
        (key) =>
          key.key_provider === version.key_provider && key.key_version === version.key_version,
      );
      return {
        ...version,
        data_keys: under.length,
        values: sum(under.map(({ values }) => values)),
      };
    }),
  };
}

export function renderReport({ data_keys: keys, key_versions: versions }: KeyReport): string {
  if (keys.length === 0) return 'There is no data key yet: the first process makes them.';
  const rows = keys.map((key) => [
    key.id,
    key.purpose,
    key.state,
    renderAge(1_000 * key.age_seconds),
    String(key.values),
    `${key.key_provider} ${key.key_version}`,
  ]);
  const ofVersions = versions.map((version) => [
    `${version.key_provider} ${version.key_version}`,
    String(version.data_keys),
    String(version.values),
  ]);
  return [
    renderTable(['DATA KEY', 'PURPOSE', 'STATE', 'AGE', 'VALUES', 'WRAPPED BY'], rows),
    renderTable(['WRAPPING KEY', 'DATA KEYS', 'VALUES'], ofVersions),
  ].join('\n\n');
}

function renderTable(header: string[], rows: string[][]): string {
  const widths = header.map((_, column) =>
    Math.max(...[header, ...rows].map((row) => row[column]?.length ?? 0)),
  );
  return [header, ...rows]
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** In its largest unit. */
export function renderAge(ms: number): string {
  if (ms >= msPerDay) return `${Math.floor(ms / msPerDay)} d`;
  if (ms >= msPerHour) return `${Math.floor(ms / msPerHour)} h`;
  return `${Math.floor(ms / msPerMinute)} min`;
}

function sum(counts: number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}
