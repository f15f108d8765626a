import type { Scenario } from '../scenario.ts';
import { coldRead } from './cold-read.ts';
import { growth } from './growth.ts';
import { herd } from './herd.ts';
import { hotRead } from './hot-read.ts';
import { memory } from './memory.ts';
import { mutualTls } from './mutual-tls.ts';
import { refresh } from './refresh.ts';
import { rowLock } from './row-lock.ts';
import { stampede } from './stampede.ts';

export const scenarios: Scenario[] = [
  hotRead,
  mutualTls,
  rowLock,
  coldRead,
  refresh,
  stampede,
  herd,
  memory,
  growth,
];
