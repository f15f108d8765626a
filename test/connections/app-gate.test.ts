import { expect, it } from 'vitest';
import { appSendLimits } from '../../connections/app-gate.ts';

const window = { count: 10, seconds: 60 };

it.each([
  ['none', {}, null, null, null],
  ['the window of the app', { per_window: window }, null, window, null],
  ['the concurrency of the app', { concurrency: 3 }, null, null, 3],
  ['the concurrency of the definition', {}, 4, null, 4],
  ['the lower of both', { concurrency: 3 }, 4, null, 3],
  ['the lower of both, the other way round', { concurrency: 5 }, 4, null, 4],
] as const)(
  'the limits of an app’s sends are %s',
  (_name, limits, concurrency, perWindow, most) => {
    expect(appSendLimits(limits, { concurrency })).toEqual({ perWindow, concurrency: most });
  },
);
