import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { reporterOf } from '../../../cli/doctor/finding.ts';
import { renderJson, renderText, worstState } from '../../../cli/doctor/render-findings.ts';
import { runChecks } from '../../../cli/doctor/run-checks.ts';

const { ok, warning, fault } = reporterOf('database');

describe('findings', () => {
  it('are a line each, with what to do under it, and a last line that counts', () => {
    const findings = [ok('it answers'), warning('it is old', 'upgrade it'), fault('off', 'do it')];
    expect(renderText(findings)).toBe(
      [
        'ok      database      it answers',
        'warning database      it is old',
        '                      -> upgrade it',
        'fault   database      off',
        '                      -> do it',
        '',
        '1 fault, 1 warning, 1 ok',
      ].join('\n'),
    );
  });

  it('are JSON with the state of the worst', () => {
    expect(JSON.parse(renderJson([ok('fine'), warning('old', 'upgrade')]))).toEqual({
      status: 'warning',
      counts: { ok: 1, warning: 1, fault: 0 },
      findings: [
        { check: 'database', state: 'ok', message: 'fine' },
        { check: 'database', state: 'warning', message: 'old', remedy: 'upgrade' },
      ],
    });
    expect(worstState([ok('x'), fault('y', 'z'), warning('a', 'b')])).toBe('fault');
    expect(worstState([ok('x')])).toBe('ok');
  });
});

describe('checks', () => {
  it('keep their order, and one that hangs or breaks costs the others nothing', async () => {
    const hangs = (): Promise<never> => new Promise(() => undefined);
    const late = async () => {
      await sleep(20);
      return [ok('late')];
    };
    const findings = await runChecks(
      [
        { name: 'first', run: late },
        { name: 'hangs', run: hangs },
        { name: 'breaks', run: () => Promise.reject(new Error('broken')) },
        { name: 'last', run: () => Promise.resolve([ok('last')]) },
      ],
      200,
    );
    expect(findings.map(({ check, state, message }) => [check, state, message])).toEqual([
      ['database', 'ok', 'late'],
      ['hangs', 'fault', 'the check did not end within 0.2 s'],
      ['breaks', 'fault', 'the check itself failed: broken'],
      ['database', 'ok', 'last'],
    ]);
  });
});
