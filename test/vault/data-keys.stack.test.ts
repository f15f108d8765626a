import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { SealedOwner } from '../../connections/token-vault.ts';
import { Secret } from '../../platform/secret.ts';
import { createCountingProvider, createVaultFixture } from './vault-fixture.ts';

const owner: SealedOwner = { tenantId: 't1', id: 'c1', generation: 3 };
const plaintext = new Secret('at-planted-token');
const minuteMs = 60_000;
const askAgainAfterMs = 5 * minuteMs;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;
const sealsMax = 2 ** 30;
const untoldSealsMax = 2 ** 16;

let fixture: Awaited<ReturnType<typeof createVaultFixture>>;
beforeAll(async () => {
  fixture = await createVaultFixture();
});
afterAll(() => fixture.drop());
beforeEach(() => fixture.reset());

type Process = ReturnType<typeof fixture.createProcess>;
const query = (sql: string) => fixture.database.pool.query(sql);
const sealIn = async ({ vault }: Process) =>
  (await vault.sealer()).seal('access-token', owner, plaintext);
const openIn = async ({ vault }: Process, bytes: Buffer) =>
  (await vault.open('access-token', owner, bytes)).reveal();
const currentAccessKey = async () =>
  (await fixture.currentKeys()).find(({ purpose }) => purpose === 'access')?.id;

describe('a data key that is used up', () => {
  it.each([
    ['by age', `update data_keys set created_at = now() - interval '30 days 1 minute'`, 0],
    ['by count of seals', `update data_keys set seals = ${sealsMax}`, sealsMax],
  ])('%s is replaced by one process for all, behind who seals', async (_, wear) => {
    const processes = Array.from({ length: 4 }, () => fixture.createProcess());
    const [first] = await Promise.all(processes.map(sealIn));
    const before = await fixture.currentKeys();
    await query(wear);
    for (const { time } of processes) time.ms += askAgainAfterMs;
    await Promise.all(processes.map(sealIn));
    await expect.poll(currentAccessKey).not.toBe(first?.dataKeyId);
    await expect
      .poll(async () => new Set((await Promise.all(processes.map(sealIn))).map((s) => s.dataKeyId)))
      .toEqual(new Set([await currentAccessKey()]));
    // All but the fingerprint key, which is for ever.
    await expect
      .poll(async () => {
        const now = await fixture.currentKeys();
        return before
          .filter(({ id }) => now.some((key) => key.id === id))
          .map((key) => key.purpose);
      })
      .toEqual(['fingerprint']);
    const { rows } = await fixture.database.pool.query(`select 1 from data_keys`);
    expect(rows).toHaveLength(before.length * 2 - 1);
    for (const each of processes)
      expect(await openIn(each, first?.bytes ?? Buffer.alloc(0))).toBe('at-planted-token');
  });

  it('goes on while the key service is away, and is replaced when it is back', async () => {
    const one = fixture.createProcess();
    const { dataKeyId } = await sealIn(one);
    await query(`update data_keys set created_at = now() - interval '31 days'`);
    one.provider.away = true;
    one.time.ms += askAgainAfterMs;
    expect((await sealIn(one)).dataKeyId).toBe(dataKeyId);
    await expect.poll(() => one.lines.length).toBeGreaterThan(0);
    one.provider.away = false;
    one.time.ms += askAgainAfterMs;
    await sealIn(one);
    await expect.poll(async () => (await sealIn(one)).dataKeyId).not.toBe(dataKeyId);
  });

  it('is counted: every process tells of its seals, at the latest when they are many', async () => {
    const [one, other] = [fixture.createProcess(), fixture.createProcess()];
    const sealed = async () => {
      const { rows } = await fixture.database.pool.query<{ seals: string }>(
        `select seals from data_keys where purpose = 'access'`,
      );
      return Number(rows[0]?.seals);
    };
    for (let n = 0; n < 10; n += 1) await sealIn(one);
    await sealIn(other);
    expect(await sealed()).toBe(0);
    one.time.ms += askAgainAfterMs;
    other.time.ms += askAgainAfterMs;
    await Promise.all([sealIn(one), sealIn(other)]);
    expect(await sealed()).toBe(11);

    const sealer = await one.vault.sealer();
    for (let n = 0; n < untoldSealsMax; n += 1) sealer.seal('access-token', owner, plaintext);
    await one.vault.sealer();
    expect(await sealed()).toBe(11 + 1 + untoldSealsMax);
  });
});

describe('an unwrapped data key', () => {
  it('is unwrapped again every hour that it is used, once, and nobody waits for it', async () => {
    const { bytes } = await sealIn(fixture.createProcess());
    const reader = fixture.createProcess();
    await openIn(reader, bytes);
    for (let hour = 1; hour <= 3; hour += 1) {
      reader.time.ms += hourMs;
      for (let n = 0; n < 1_000; n += 1) await openIn(reader, bytes);
      await expect.poll(() => reader.provider.unwraps).toBe(1 + hour);
    }
    expect(reader.database.queries).toBe(4);
  });

  it('stays through an outage of the key service: reads and seals go on for a day', async () => {
    const one = fixture.createProcess();
    const { bytes } = await sealIn(one);
    one.provider.away = true;
    for (let minute = 0; minute < 24 * 60; minute += 30) {
      expect(await openIn(one, bytes)).toBe('at-planted-token');
      await sealIn(one);
      one.time.ms += 30 * minuteMs;
    }
    await expect(openIn(one, bytes)).rejects.toMatchObject({ code: 'key_service_unavailable' });
    await expect(one.vault.sealer()).rejects.toMatchObject({ code: 'key_service_unavailable' });
    one.provider.away = false;
    one.time.ms += 1_000;
    expect(await openIn(one, bytes)).toBe('at-planted-token');
    await sealIn(one);
  });

  it('that was renewed stays a day from then on', async () => {
    const one = fixture.createProcess();
    const { bytes } = await sealIn(one);
    one.time.ms += dayMs - hourMs;
    await openIn(one, bytes);
    await expect.poll(() => one.metric(/op="unwrap",outcome="ok".*\} (\d+)/)).toBe('6');
    one.provider.away = true;
    one.time.ms += dayMs - hourMs;
    expect(await openIn(one, bytes)).toBe('at-planted-token');
  });

  it('asks the key service again a minute after it was away, not with every read', async () => {
    const one = fixture.createProcess();
    const { bytes } = await sealIn(one);
    one.provider.away = true;
    const before = one.provider.unwraps;
    one.time.ms += hourMs;
    for (let n = 0; n < 100; n += 1) await openIn(one, bytes);
    await expect.poll(() => one.provider.unwraps).toBe(before + 1);
    one.time.ms += minuteMs;
    for (let n = 0; n < 100; n += 1) await openIn(one, bytes);
    await expect.poll(() => one.provider.unwraps).toBe(before + 2);
  });

  it('costs nothing warm: ten thousand reads and seals ask the key service for no key', async () => {
    const one = fixture.createProcess();
    const { bytes } = await sealIn(one);
    const { wraps, unwraps } = one.provider;
    for (let n = 0; n < 5_000; n += 1) {
      await openIn(one, bytes);
      await sealIn(one);
    }
    expect(one.provider).toMatchObject({ wraps, unwraps });
  });

  it('whose successor cannot be unwrapped goes on sealing', async () => {
    const one = fixture.createProcess();
    const { dataKeyId } = await sealIn(one);
    await query(`update data_keys set retired_at = now() where purpose = 'access'`);
    const successor = await sealIn(fixture.createProcess());
    one.provider.away = true;
    one.time.ms += askAgainAfterMs;
    expect((await sealIn(one)).dataKeyId).toBe(dataKeyId);
    one.provider.away = false;
    one.time.ms += minuteMs;
    expect((await sealIn(one)).dataKeyId).toBe(successor.dataKeyId);
  });
});

describe('two key providers', () => {
  const cloud = { name: 'google-kms', wrappingKey: Buffer.alloc(32, 2) };

  it('open what either wrapped; new data keys are wrapped by the one that wraps', async () => {
    const before = fixture.createProcess();
    const { bytes } = await sealIn(before);
    const local = createCountingProvider();
    const during = fixture.createProcess({ ...cloud, others: [local.provider] });
    expect(await openIn(during, bytes)).toBe('at-planted-token');
    await query(`update data_keys set created_at = now() - interval '31 days'`);
    await sealIn(during);
    const providers = async () => {
      const { rows } = await fixture.database.pool.query<{ key_provider: string }>(
        `select distinct key_provider from data_keys where retired_at is null order by 1`,
      );
      return rows.map((row) => row.key_provider);
    };
    // The fingerprint key stays, and stays wrapped as it is.
    await expect.poll(providers).toEqual(['google-kms', 'local']);
    await expect
      .poll(async () => {
        during.time.ms += askAgainAfterMs;
        const moved = await sealIn(during);
        return openIn(fixture.createProcess(cloud), moved.bytes).catch(
          () => 'wrapped by the other',
        );
      })
      .toBe('at-planted-token');

    // A process that knows only the old one says so, and reads what it can.
    const moved = await sealIn(during);
    await expect(openIn(fixture.createProcess(), moved.bytes)).rejects.toThrow(
      'was wrapped by key provider google-kms',
    );
    expect(await openIn(fixture.createProcess(), bytes)).toBe('at-planted-token');
  });
});
