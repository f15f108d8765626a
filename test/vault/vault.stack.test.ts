import { createHmac, createSecretKey, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { SealedOwner } from '../../connections/token-vault.ts';
import { Secret } from '../../platform/secret.ts';
import { createLocalKeyProvider } from '../../vault/local-key-provider.ts';
import type { TestDatabase } from '../support/database.ts';
import { createVaultFixture } from './vault-fixture.ts';

const owner: SealedOwner = { tenantId: 't1', id: 'c1', generation: 3 };
const plaintext = new Secret('at-planted-token');
const currentKeyLifetimeMs = 5 * 60_000;

let fixture: Awaited<ReturnType<typeof createVaultFixture>>;
let database: TestDatabase;
beforeAll(async () => {
  fixture = await createVaultFixture();
  ({ database } = fixture);
});
afterAll(() => fixture.drop());
beforeEach(() => fixture.reset());

const createProcess: typeof fixture.createProcess = (options) => fixture.createProcess(options);
const currentIds = () => fixture.currentKeys();

describe('data keys', () => {
  it('are made on first need, one a purpose, and all processes agree on them', async () => {
    const processes = Array.from({ length: 6 }, () => createProcess());
    const sealers = await Promise.all(processes.map(({ vault }) => vault.sealer()));
    expect((await currentIds()).map(({ purpose }) => purpose)).toEqual([
      'access',
      'app',
      'fingerprint',
      'refresh',
      'sealed-result',
    ]);
    const ids = sealers.map((sealer) => sealer.seal('access-token', owner, plaintext).dataKeyId);
    expect(new Set(ids).size).toBe(1);
    const fingerprints = sealers.map((sealer) => sealer.fingerprint(plaintext).toString('hex'));
    expect(new Set(fingerprints).size).toBe(1);
  });

  it('are unwrapped once, however many reads wait for one', async () => {
    const { bytes } = (await createProcess().vault.sealer()).seal('access-token', owner, plaintext);
    const reader = createProcess();
    const opened = await Promise.all(
      Array.from({ length: 1_000 }, () => reader.vault.open('access-token', owner, bytes)),
    );
    expect(new Set(opened.map((secret) => secret.reveal()))).toEqual(new Set(['at-planted-token']));
    expect(reader.provider.unwraps).toBe(1);
    expect(reader.database.queries).toBe(1);
  });

  it('are unwrapped by the read path for access tokens only', async () => {
    const { bytes } = (await createProcess().vault.sealer()).seal('access-token', owner, plaintext);
    const reader = createProcess();
    await reader.vault.open('access-token', owner, bytes);
    expect(reader.provider).toMatchObject({ wraps: 0, unwraps: 1 });
  });

  it('lie in the database only wrapped, and no inspect shows them', async () => {
    const writer = createProcess();
    const sealer = await writer.vault.sealer();
    const provider = createLocalKeyProvider(createSecretKey(Buffer.alloc(32, 1)));
    const { rows } = await database.pool.query<{
      id: string;
      purpose: string;
      wrapped: Buffer;
      key_version: string;
    }>('select id, purpose, wrapped, key_version from data_keys');
    const shown = inspect([writer.vault, sealer], { depth: 20, showHidden: true });
    for (const row of rows) {
      const wrapped = { wrapped: row.wrapped, keyVersion: row.key_version };
      const context = { dataKeyId: row.id, purpose: row.purpose };
      const key = await provider.unwrap(wrapped, context);
      expect(row.wrapped.includes(key)).toBe(false);
      expect(shown).not.toContain(key.toString('hex'));
    }
    expect(rows).toHaveLength(5);
  });
});

describe('sealing', () => {
  it('opens in every process, for each kind', async () => {
    const sealer = await createProcess().vault.sealer();
    const reader = createProcess().vault;
    for (const kind of [
      'access-token',
      'refresh-token',
      'client-secrets',
      'sealed-result',
    ] as const) {
      const { bytes, dataKeyId } = sealer.seal(kind, owner, plaintext);
      expect(bytes.toString('hex', 1, 17)).toBe(dataKeyId.replaceAll('-', ''));
      expect((await reader.open(kind, owner, bytes)).reveal()).toBe('at-planted-token');
    }
  });

  it('uses the key of each kind, and no nonce twice', async () => {
    const sealer = await createProcess().vault.sealer();
    const ids = (['access-token', 'refresh-token', 'client-secrets', 'sealed-result'] as const).map(
      (kind) => sealer.seal(kind, owner, plaintext).dataKeyId,
    );
    expect(new Set(ids).size).toBe(4);
    const nonces = Array.from({ length: 100 }, () =>
      sealer.seal('access-token', owner, plaintext).bytes.toString('hex', 17, 29),
    );
    expect(new Set(nonces).size).toBe(100);
  });

  it('goes on with the keys in memory while PostgreSQL is away', async () => {
    const one = createProcess();
    await one.vault.sealer();
    one.database.away = true;
    one.time.ms += currentKeyLifetimeMs;
    const { bytes } = (await one.vault.sealer()).seal('access-token', owner, plaintext);
    expect((await one.vault.open('access-token', owner, bytes)).reveal()).toBe('at-planted-token');
  });

  it('asks an absent PostgreSQL again only after a while', async () => {
    const one = createProcess();
    await one.vault.sealer();
    one.database.away = true;
    one.time.ms += currentKeyLifetimeMs;
    await one.vault.sealer();
    const { queries } = one.database;
    await one.vault.sealer();
    expect(one.database.queries).toBe(queries);
    one.time.ms += 5_000;
    await one.vault.sealer();
    expect(one.database.queries).toBeGreaterThan(queries);
  });

  it('follows a rotation by another process within the lifetime of what it knows', async () => {
    const one = createProcess();
    const sealWith = async () =>
      (await one.vault.sealer()).seal('refresh-token', owner, plaintext).dataKeyId;
    const before = await sealWith();
    await database.pool.query(
      `update data_keys set retired_at = now() where purpose = 'refresh' and retired_at is null`,
    );
    await createProcess().vault.sealer();
    expect(await sealWith()).toBe(before);
    one.time.ms += currentKeyLifetimeMs;
    const after = await sealWith();
    expect(after).not.toBe(before);
    expect(await currentIds()).toContainEqual({ purpose: 'refresh', id: after });
  });

  it('still opens what a retired key sealed', async () => {
    const { bytes } = (await createProcess().vault.sealer()).seal('access-token', owner, plaintext);
    await database.pool.query('update data_keys set retired_at = now()');
    const secret = await createProcess().vault.open('access-token', owner, bytes);
    expect(secret.reveal()).toBe('at-planted-token');
  });
});

describe('fingerprints', () => {
  it('are HMAC-SHA-256 with the stored key', async () => {
    const { fingerprint } = JSON.parse(
      readFileSync(new URL('sealed-value-vectors.json', import.meta.url), 'utf8'),
    ) as { fingerprint: { keyHex: string; refreshToken: string; hmacSha256Hex: string } };
    const id = '11111111-2222-4333-8444-555555555555';
    const local = createLocalKeyProvider(createSecretKey(Buffer.alloc(32, 1)));
    const { wrapped, keyVersion } = await local.wrap(Buffer.from(fingerprint.keyHex, 'hex'), {
      dataKeyId: id,
      purpose: 'fingerprint',
    });
    await database.pool.query(
      `insert into data_keys (id, purpose, wrapped, key_provider, key_version)
       values ($1, 'fingerprint', $2, 'local', $3)`,
      [id, wrapped, keyVersion],
    );
    const sealer = await createProcess().vault.sealer();
    const taken = sealer.fingerprint(new Secret(fingerprint.refreshToken));
    expect(taken.toString('hex')).toBe(fingerprint.hmacSha256Hex);
    expect(taken).toEqual(
      createHmac('sha256', Buffer.from(fingerprint.keyHex, 'hex'))
        .update(fingerprint.refreshToken)
        .digest(),
    );
  });
});

describe('opening', () => {
  it('R52 refuses the value of another connection, and counts it', async () => {
    const one = createProcess();
    const { bytes } = (await one.vault.sealer()).seal('access-token', owner, plaintext);
    for (const other of [{ id: 'c2' }, { tenantId: 't2' }, { generation: 2 }]) {
      await expect(
        one.vault.open('access-token', { ...owner, ...other }, bytes),
      ).rejects.toMatchObject({ code: 'internal' });
    }
    expect(await one.metric(/unseal_failures_total\{.*\} (\d+)/)).toBe('3');
  });

  it('refuses a key of another purpose without unwrapping it', async () => {
    const one = createProcess();
    const sealer = await one.vault.sealer();
    const { bytes } = sealer.seal('refresh-token', owner, plaintext);
    await expect(one.vault.open('access-token', owner, bytes)).rejects.toMatchObject({
      code: 'internal',
    });
    const reader = createProcess();
    await expect(reader.vault.open('access-token', owner, bytes)).rejects.toMatchObject({
      code: 'internal',
    });
    expect(reader.provider.unwraps).toBe(0);
  });

  it.each([
    ['a key that is not there', Buffer.concat([Buffer.from([1]), randomBytes(60)])],
    ['an unknown version', Buffer.concat([Buffer.from([9]), randomBytes(60)])],
    ['too few bytes', Buffer.from([1, 2, 3])],
  ])('refuses %s, and counts it', async (_, bytes) => {
    const one = createProcess();
    await expect(one.vault.open('access-token', owner, bytes)).rejects.toMatchObject({
      code: 'internal',
    });
    expect(await one.metric(/unseal_failures_total\{.*\} (\d+)/)).toBe('1');
  });

  it('answers store_unavailable while PostgreSQL is away and the key is not in memory', async () => {
    const { bytes } = (await createProcess().vault.sealer()).seal('access-token', owner, plaintext);
    const reader = createProcess();
    reader.database.away = true;
    await expect(reader.vault.open('access-token', owner, bytes)).rejects.toMatchObject({
      code: 'store_unavailable',
    });
    await expect(reader.vault.sealer()).rejects.toMatchObject({ code: 'store_unavailable' });
    expect(await reader.metric(/unseal_failures_total\{.*\} (\d+)/)).toBe('0');
    reader.database.away = false;
    expect((await reader.vault.open('access-token', owner, bytes)).reveal()).toBe(
      'at-planted-token',
    );
  });

  it('answers key_service_unavailable while the key service is away, and recovers with it', async () => {
    const { bytes } = (await createProcess().vault.sealer()).seal('access-token', owner, plaintext);
    const reader = createProcess();
    reader.provider.away = true;
    await expect(reader.vault.open('access-token', owner, bytes)).rejects.toMatchObject({
      code: 'key_service_unavailable',
    });
    expect(reader.lines).toMatchObject([
      [{ key_provider: 'local', reason: 'unavailable', purpose: 'access' }, expect.anything()],
    ]);
    reader.provider.away = false;
    // Within a second of a failure nobody waits for the next one.
    await expect(reader.vault.open('access-token', owner, bytes)).rejects.toThrow();
    reader.time.ms += 1_000;
    await reader.vault.open('access-token', owner, bytes);
    const counted = (outcome: string) =>
      reader.metric(
        new RegExp(
          `data_key_operations_total\\{provider="local",op="unwrap",outcome="${outcome}".*\\} (\\d+)`,
        ),
      );
    expect([await counted('unavailable'), await counted('ok')]).toEqual(['1', '1']);
  });

  it('names the key file when the database was used with another', async () => {
    const { bytes } = (await createProcess().vault.sealer()).seal('access-token', owner, plaintext);
    const other = createProcess({ wrappingKey: Buffer.alloc(32, 2) });
    await expect(other.vault.open('access-token', owner, bytes)).rejects.toMatchObject({
      code: 'key_service_unavailable',
      message: expect.stringContaining('LOCAL_KEY_FILE') as string,
    });
    await expect(other.vault.sealer()).rejects.toMatchObject({ code: 'key_service_unavailable' });
  });

  it('names the key provider when the database was used with another', async () => {
    const { bytes } = (await createProcess().vault.sealer()).seal('access-token', owner, plaintext);
    await database.pool.query(`update data_keys set key_provider = 'google-kms'`);
    await expect(createProcess().vault.open('access-token', owner, bytes)).rejects.toThrow(
      'wrapped by key provider google-kms',
    );
  });
});
