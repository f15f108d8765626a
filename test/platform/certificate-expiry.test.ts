import { afterEach, describe, expect, it, vi } from 'vitest';
import { watchCertificateExpiry } from '../../platform/certificate-expiry.ts';
import { createMetrics } from '../../platform/metrics.ts';
import type { CertificateExpiry } from '../../platform/tls-files.ts';

const dayMs = 86_400_000;
const hourMs = 3_600_000;
const start = Date.parse('2026-11-24T00:00:00Z');
afterEach(() => void vi.useRealTimers());

function expiry(days: number, fingerprint256 = 'a'): CertificateExpiry {
  return {
    role: 'server',
    setting: 'TLS_CERT_FILE',
    subject: 'CN=a.test',
    fingerprint256,
    expiresAt: new Date(start + days * dayMs),
  };
}

/** What is logged while so many days pass, as days left; 0 for "has expired". */
function warnings(expiries: CertificateExpiry[], days: number): number[] {
  vi.useFakeTimers({ now: start });
  const found: number[] = [];
  const watch = watchCertificateExpiry({
    expiries: () => expiries,
    clock: { wallMs: () => Date.now(), monotonicMs: () => Date.now() },
    log: {
      warn: (fields: object | string) =>
        void found.push((fields as { days_left: number }).days_left),
      error: () => void found.push(-1),
    },
  });
  for (let hour = 0; hour < days * 24; hour += 1) vi.advanceTimersByTime(hourMs);
  watch.close();
  return found;
}

describe('a certificate that expires', () => {
  it('is warned about at 30 days, at 7, then daily, and daily once it has expired', () => {
    expect(warnings([expiry(40)], 43)).toEqual([29, 6, 5, 4, 3, 2, 1, 0, -1, -1, -1]);
  });

  it('is warned about at once when little is left at the start', () => {
    expect(warnings([expiry(10.5)], 1)).toEqual([10]);
    expect(warnings([expiry(3.5)], 0)).toEqual([3]);
  });

  it('shows its time in the metrics, by the role of its file', async () => {
    const metrics = createMetrics({ subsystem: 'test' });
    const clock = { wallMs: () => start, monotonicMs: () => 0 };
    metrics.collectCertificateExpiries(() => [expiry(2)], clock);
    const { body } = await metrics.page();
    expect(body).toContain(
      'token_manager_certificate_expiry_seconds{certificate="server",subsystem="test"} 172800',
    );
  });
});
