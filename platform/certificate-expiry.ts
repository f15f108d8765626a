import type { Clock } from './clock.ts';
import type { Logger } from './log.ts';
import type { CertificateExpiry } from './tls-files.ts';

const dayMs = 86_400_000;
const lookEveryMs = 3_600_000;
const firstWarningDays = 30;
/** From here on a warning a day. */
const urgentDays = 7;

export interface ExpiryWatch {
  /** Looks at once, as after a file was read anew. */
  look(): void;
  close(): void;
}

/**
 * Warns in the log of certificates that expire within 30 days, again at 7 days, then daily, and once
 * they have expired; once for each stage and certificate. It looks every hour.
 */
export function watchCertificateExpiry(options: {
  expiries: () => CertificateExpiry[];
  clock: Clock;
  log: Pick<Logger, 'warn' | 'error'>;
}): ExpiryWatch {
  const { expiries, clock, log } = options;
  const warned = new Map<CertificateExpiry['role'], string>();

  function look(): void {
    for (const expiry of expiries()) {
      const leftMs = expiry.expiresAt.getTime() - clock.wallMs();
      const stage = stageOf(leftMs);
      const key = `${expiry.fingerprint256} ${stage ?? ''}`;
      if (stage === undefined || warned.get(expiry.role) === key) continue;
      warned.set(expiry.role, key);
      const fields = {
        setting: expiry.setting,
        subject: expiry.subject,
        expires_at: expiry.expiresAt.toISOString(),
      };
      if (leftMs <= 0) log.error(fields, 'a certificate has expired: renew it');
      else {
        const days = Math.floor(leftMs / dayMs);
        log.warn({ ...fields, days_left: days }, 'a certificate expires soon: renew it');
      }
    }
  }

  look();
  const timer = setInterval(look, lookEveryMs).unref();
  return { look, close: () => clearInterval(timer) };
}

/** Undefined while there is time. */
function stageOf(leftMs: number): string | undefined {
  const days = Math.floor(leftMs / dayMs);
  if (days < urgentDays) return `day ${days}`;
  return days < firstWarningDays ? 'first' : undefined;
}
