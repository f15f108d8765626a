import { describe, expect, it } from 'vitest';
import * as database from '../../../cli/doctor/check-database.ts';
import { judgeSecretFile, judgeTrustedFile } from '../../../cli/doctor/check-files.ts';
import { faultOf, judgeDataKeys } from '../../../cli/doctor/check-keys.ts';
import { judgeHearing } from '../../../cli/doctor/check-listen.ts';
import { judgeRetention, namespaceMissing } from '../../../cli/doctor/check-namespace.ts';
import { judgePollers } from '../../../cli/doctor/check-pollers.ts';
import { tokenUrls } from '../../../cli/doctor/check-providers.ts';
import { judgeSearchAttributes } from '../../../cli/doctor/check-search-attributes.ts';
import { checkSettings } from '../../../cli/doctor/check-settings.ts';
import * as temporal from '../../../cli/doctor/check-temporal.ts';
import type { DatabaseFacts } from '../../../cli/doctor/database-facts.ts';
import type { Finding } from '../../../cli/doctor/finding.ts';
import { TokenManagerError } from '../../../client/contract.ts';
import { readProviders } from '../../../cli/load-providers.ts';
import { readConfig } from '../../../platform/config.ts';

const facts: DatabaseFacts = {
  version: 180_004,
  versionText: '18.4',
  fsync: 'on',
  fullPageWrites: 'on',
  synchronousCommit: 'on',
  isReadOnly: false,
  aheadMs: 0,
};

function states(findings: Finding[]): string[] {
  return findings.map(({ state }) => state);
}

/** What is a fault or a warning says what to do. */
function expectRemedy(finding: Finding | undefined, state: string, remedy: RegExp): void {
  expect(finding?.state).toBe(state);
  expect(finding?.remedy).toMatch(remedy);
}

describe('settings', () => {
  it('are reported with every fault, its remedy apart, and every warning', () => {
    const env = { PORT: 'x', DATABASE_URL: 'nowhere', FIBER_IMMUTABLE: 'false' };
    const { config, faults } = readConfig({ env });
    const findings = checkSettings(config, faults);
    expect(states(findings)).toEqual(['fault', 'fault', 'fault', 'warning']);
    expect(findings[0]).toMatchObject({
      message: 'PORT is "x"',
      remedy: 'set a whole number from 0 to 65535',
    });
    expect(findings.map(({ message }) => message).join()).toMatch(/DATABASE_URL.*LOCAL_KEY_FILE/);
  });
});

describe('the database', () => {
  it('is away, or refuses', () => {
    const away = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
    expectRemedy(database.judgeFailure('h/d', away), 'fault', /start it/);
    const refused = Object.assign(new Error('password authentication failed'), { code: '28P01' });
    expectRemedy(database.judgeFailure('h/d', refused), 'fault', /password/);
  });

  it('is PostgreSQL 14 or newer', () => {
    expect(database.judgeVersion('h/d', { ...facts, version: 140_000 }).state).toBe('ok');
    expectRemedy(database.judgeVersion('h/d', { ...facts, version: 130_022 }), 'fault', /upgrade/);
  });

  it('keeps what it commits', () => {
    expect(states(database.judgeDurability(facts))).toEqual(['ok']);
    for (const off of [{ fsync: 'off' }, { synchronousCommit: 'off' }]) {
      expectRemedy(database.judgeDurability({ ...facts, ...off })[0], 'fault', /turn it on/);
    }
    expect(states(database.judgeDurability({ ...facts, synchronousCommit: 'local' }))).toEqual([
      'ok',
    ]);
    expect(states(database.judgeDurability({ ...facts, fullPageWrites: 'off' }))).toEqual([
      'warning',
    ]);
  });

  it('has the schema, or gets it', () => {
    expect(database.judgeSchema([], false).state).toBe('ok');
    expect(database.judgeSchema(['0009_x'], true).state).toBe('warning');
    expectRemedy(database.judgeSchema(['0009_x'], false), 'fault', /token-manager migrate/);
  });

  it('and this machine agree on the time', () => {
    expect(database.judgeClock({ aheadMs: -900 }).state).toBe('ok');
    expect(database.judgeClock({ aheadMs: 3_000 }).message).toContain('3.0 s ahead of');
    expect(database.judgeClock({ aheadMs: -3_000 }).message).toContain('3.0 s behind');
    expectRemedy(database.judgeClock({ aheadMs: -60_000 }), 'fault', /NTP/);
  });

  it('hears LISTEN, or sits behind a pooler', () => {
    expect(judgeHearing(true, 'h/d').state).toBe('ok');
    expectRemedy(judgeHearing(false, 'h/d'), 'fault', /DATABASE_LISTEN_URL/);
  });
});

describe('Temporal', () => {
  it('is of a version this build is tested with', () => {
    expect(temporal.judgeVersion('1.32.0', 't').state).toBe('ok');
    expect(temporal.judgeVersion('2.0', 't').state).toBe('ok');
    expect(temporal.judgeVersion('cloud', 't').state).toBe('ok');
    expectRemedy(temporal.judgeVersion('1.29.1', 't'), 'warning', /upgrade/);
  });

  it('is away, or refuses', () => {
    expectRemedy(temporal.judgeFailure(new Error('x'), 't:7233'), 'fault', /TEMPORAL_ADDRESS/);
    const refused = Object.assign(new Error('7 PERMISSION_DENIED'), {
      code: 7,
      details: 'no',
      metadata: {},
    });
    expectRemedy(temporal.judgeFailure(refused, 't:7233'), 'fault', /TEMPORAL_API_KEY/);
  });

  it('has the namespace, with histories kept long enough', () => {
    const config = { namespace: 'tokens', retentionMs: 604_800_000 };
    expectRemedy(namespaceMissing(config), 'fault', /namespace create --retention 168h tokens/);
    expect(judgeRetention(604_800_000, config)).toEqual([]);
    expectRemedy(judgeRetention(86_400_000, config)[0], 'warning', /--retention 168h tokens/);
  });

  it('has the search attributes, of the right types', () => {
    const wanted = { ConnectionId: 'Keyword', TenantId: 'Keyword' };
    expect(judgeSearchAttributes({ ...wanted, Own: 'Text' }, wanted, 'n').state).toBe('ok');
    expectRemedy(
      judgeSearchAttributes({ TenantId: 'Keyword' }, wanted, 'n'),
      'fault',
      /create --namespace n --name ConnectionId --type Keyword/,
    );
    const text = { ...wanted, TenantId: 'Text' };
    expect(judgeSearchAttributes(text, wanted, 'n').message).toBe('TenantId is Text, not Keyword');
  });

  it('has workers on the Task Queue', () => {
    expect(judgePollers('q', { workflow: 1, activity: 1 }).state).toBe('ok');
    expectRemedy(judgePollers('q', { workflow: 0, activity: 1 }), 'warning', /worker/);
    expectRemedy(judgePollers('q', { workflow: 1, activity: 0 }), 'warning', /worker/);
  });
});

describe('keys', () => {
  it('come from a file that says what is wrong with it', () => {
    const detail = 'There is no local key file /k: set LOCAL_KEY_FILE to it.';
    const error = new TokenManagerError('key_service_unavailable', { detail });
    expect(faultOf(error)).toMatchObject({
      state: 'fault',
      message: 'There is no local key file /k',
      remedy: 'set LOCAL_KEY_FILE to it.',
    });
  });

  it('open every data key that is stored', () => {
    expect(judgeDataKeys(0, []).state).toBe('ok');
    expect(judgeDataKeys(5, []).state).toBe('ok');
    const detail = 'The local key file is not the one: point LOCAL_KEY_FILE at the right one.';
    const error = new TokenManagerError('key_service_unavailable', { detail });
    expectRemedy(judgeDataKeys(5, [error]), 'fault', /LOCAL_KEY_FILE/);
    expect(judgeDataKeys(5, [error, error]).message).toMatch(/^2 of 5 data keys do not open/);
  });
});

describe('files', () => {
  const file = { setting: 'LOCAL_KEY_FILE', path: '/k' };

  it('of secrets are for their owner and its group', () => {
    for (const mode of [0o400, 0o600, 0o640, 0o440]) {
      expect(judgeSecretFile(file, mode)).toBeUndefined();
    }
    expectRemedy(judgeSecretFile(file, 0o644), 'warning', /chmod 600 \/k/);
    expectRemedy(judgeSecretFile(file, 0o620), 'fault', /chmod 600 \/k/);
    expectRemedy(judgeSecretFile(file, 0o666), 'fault', /chmod 600 \/k/);
  });

  it('that decide whom to trust are not written by everybody', () => {
    expect(judgeTrustedFile(file, 0o664)).toBeUndefined();
    expectRemedy(judgeTrustedFile(file, 0o666), 'fault', /chmod o-w \/k/);
  });
});

describe('providers', () => {
  it('are asked once a host, and not where each connection has a host of its own', () => {
    const { providers } = readProviders(undefined);
    const app = (id: string, provider: string, overrides: Record<string, unknown> = {}) => ({
      id,
      provider,
      overrides,
    });
    const { urls, findings } = tokenUrls(
      [
        app('a', 'generic', { token_url: 'https://idp.example:8443/token?x=1' }),
        app('b', 'generic', { token_url: 'https://idp.example:8443/other' }),
        app('c', 'zendesk'),
        app('d', 'gone'),
      ],
      providers,
    );
    expect([...urls]).toEqual([['https://idp.example:8443', ['a', 'b']]]);
    expect(states(findings)).toEqual(['fault', 'ok']);
  });
});
