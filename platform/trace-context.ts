import { randomFillSync } from 'node:crypto';

const traceIdHex = 32;
const spanIdHex = 16;
const idsBytes = (traceIdHex + spanIdHex) / 2;
/** Ids made from one call for random bytes, which costs as much for many as for one. */
const idsAtOnce = 128;

const traceparentPattern = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** What `traceparent` carries, W3C Trace Context section 3.2. */
export interface TraceContext {
  traceId: string;
  spanId: string;
  /** Whether the caller may have recorded the trace. */
  isSampled: boolean;
}

/**
 * Undefined for what is no `traceparent`: then a trace begins here. Of a version above 00 the parts that
 * 00 has are read (section 3.2.3).
 */
export function parseTraceparent(header: string | undefined): TraceContext | undefined {
  if (header === undefined) return undefined;
  const [, version, traceId = '', spanId = '', flags = '', rest] =
    traceparentPattern.exec(header) ?? [];
  if (version === undefined || version === 'ff') return undefined;
  if (version === '00' && rest !== undefined) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

export function formatTraceparent({ traceId, spanId, isSampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${isSampled ? '01' : '00'}`;
}

/** Makes contexts of traces that begin here and that nobody records. */
export function createTraceIds(fill: (bytes: Buffer) => unknown = randomFillSync) {
  const bytes = Buffer.alloc(idsAtOnce * idsBytes);
  let used = bytes.length;
  return (): TraceContext => {
    if (used === bytes.length) {
      fill(bytes);
      used = 0;
    }
    const hex = bytes.toString('hex', used, used + idsBytes);
    used += idsBytes;
    return {
      traceId: hex.slice(0, traceIdHex),
      spanId: hex.slice(traceIdHex),
      isSampled: false,
    };
  };
}
