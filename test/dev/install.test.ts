import { expect, test } from 'vitest';

import { isInstallComplete, nodeComplaint } from '../../dev/install.mjs';
import { countTests } from '../../dev/run-checks.mjs';

const lockfile = {
  packages: {
    '': { version: '0.1.0' },
    'node_modules/pg': { version: '8.0.0' },
    'node_modules/for-another-platform': { version: '1.0.0', optional: true },
  },
};

test('nothing installed is incomplete', () => {
  expect(isInstallComplete(lockfile, undefined)).toBe(false);
});

test('an older version than the lockfile names is incomplete', () => {
  const installed = { packages: { 'node_modules/pg': { version: '7.0.0' } } };
  expect(isInstallComplete(lockfile, installed)).toBe(false);
});

test('packages of other platforms may be missing', () => {
  const installed = { packages: { 'node_modules/pg': { version: '8.0.0' } } };
  expect(isInstallComplete(lockfile, installed)).toBe(true);
});

test.each([
  ['v18.20.0', false],
  ['v20.18.1', false],
  ['v20.19.0', true],
  ['v22.0.0', true],
])('Node %s is new enough for >=20.19: %s', (version, isNewEnough) => {
  expect(nodeComplaint(version, '>=20.19') === undefined).toBe(isNewEnough);
});

test('a run that failed without a failing test counts as one failure', () => {
  expect(countTests({ numPassedTests: 7, numFailedTests: 0 }, 1)).toEqual({ passed: 7, failed: 1 });
  expect(countTests(undefined, 1)).toEqual({ passed: 0, failed: 1 });
  expect(countTests({ numPassedTests: 7, numFailedTests: 2 }, 1)).toEqual({ passed: 7, failed: 2 });
  expect(countTests({ numPassedTests: 7, numFailedTests: 0 }, 0)).toEqual({ passed: 7, failed: 0 });
});
