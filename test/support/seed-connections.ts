import type pg from 'pg';
import type { TokenVault } from '../../connections/token-vault.ts';
import { Secret } from '../../platform/secret.ts';

const batchSize = 1_000;

/**
 * Connections of one app as imports have made them, by statements of many rows: with tokens `at-<id>` and
 * `rt-<id>`, valid for a day. Answers their ids.
 */
export async function seedConnections(
  pool: pg.Pool,
  vault: TokenVault,
  {
    appId,
    tenantId,
    prefix,
    count,
  }: Record<'appId' | 'tenantId' | 'prefix', string> & { count: number },
): Promise<string[]> {
  const ids = Array.from({ length: count }, (_, at) => `${prefix}-${String(at).padStart(7, '0')}`);
  for (let from = 0; from < count; from += batchSize) {
    const sealer = await vault.sealer();
    const rows = ids.slice(from, from + batchSize).map((id) => {
      const owner = { tenantId, id, generation: 1 };
      const refreshToken = new Secret(`rt-${id}`);
      return {
        id,
        access: sealer.seal('access-token', owner, new Secret(`at-${id}`)),
        refresh: sealer.seal('refresh-token', owner, refreshToken),
        fingerprint: sealer.fingerprint(refreshToken),
      };
    });
    await pool.query(
      `insert into connections (id, tenant_id, app_id, generation, token_version, credential, rotation_class,
         sealed_access_token, access_key_id, sealed_refresh_token, refresh_key_id, refresh_fingerprint,
         expires_at, lifetime_seconds, refresh_due_at)
       select id, $2, $3, 1, 1, 'refresh_token', 'F', access, access_key, refresh, refresh_key, fingerprint,
         now() + interval '1 day', 86400, now() + interval '23 hours'
       from unnest($1::text[], $4::bytea[], $5::uuid[], $6::bytea[], $7::uuid[], $8::bytea[])
         as row (id, access, access_key, refresh, refresh_key, fingerprint)`,
      [
        rows.map(({ id }) => id),
        tenantId,
        appId,
        rows.map(({ access }) => access.bytes),
        rows.map(({ access }) => access.dataKeyId),
        rows.map(({ refresh }) => refresh.bytes),
        rows.map(({ refresh }) => refresh.dataKeyId),
        rows.map(({ fingerprint }) => fingerprint),
      ],
    );
  }
  await pool.query('analyze connections');
  return ids;
}
