import { describe, expect, it } from 'vitest';
import {
  createTraceIds,
  formatTraceparent,
  parseTraceparent,
} from '../../platform/trace-context.ts';

const traceId = 'a'.repeat(32);
const spanId = 'b'.repeat(16);

describe('traceparent', () => {
  it.each([
    [`00-${traceId}-${spanId}-01`, true],
    [`00-${traceId}-${spanId}-00`, false],
    // A later version is read as far as 00 goes.
    [`01-${traceId}-${spanId}-03-more`, true],
  ])('%s is read and written', (header, isSampled) => {
    const context = parseTraceparent(header);
    expect(context).toEqual({ traceId, spanId, isSampled });
    if (context === undefined) return;
    expect(formatTraceparent(context)).toBe(`00-${traceId}-${spanId}-${isSampled ? '01' : '00'}`);
  });

  it.each([
    undefined,
    '',
    `00-${traceId}-${spanId}`,
    `00-${traceId}-${spanId}-01-more`,
    `ff-${traceId}-${spanId}-01`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    `00-${'0'.repeat(32)}-${spanId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `00-${traceId}-${spanId}-01\r\nx: y`,
  ])('%j is none', (header) => {
    expect(parseTraceparent(header)).toBeUndefined();
  });
});

it('ids are valid and differ, beyond what one call for random bytes gives', () => {
  const newContext = createTraceIds();
  const made = Array.from({ length: 1_000 }, () => formatTraceparent(newContext()));
  expect(new Set(made).size).toBe(1_000);
  for (const header of made) expect(parseTraceparent(header)?.isSampled).toBe(false);
});
