import type { Scope } from '../../gateway/caller.ts';
import { parseCallerPolicy, type PolicyCaller } from '../../gateway/caller-policy.ts';
import { createKeyCallers, keyHashOf } from '../../gateway/callers.ts';
import type { ClientIdentity } from '../../gateway/gateway-env.ts';
import { createFakeGateway } from './gateway-fakes.ts';

/** A member of a policy file. */
export function policyCaller(changes: Partial<PolicyCaller> = {}): PolicyCaller {
  return {
    name: 'billing',
    match: ['uri:spiffe://example.com/billing'],
    key_hashes: [keyHashOf('billing-key')],
    scopes: ['tokens:read'],
    tenants: '*',
    ...changes,
  };
}

export function policyOf(...callers: PolicyCaller[]) {
  return parseCallerPolicy(JSON.stringify({ callers }));
}

/** A gateway whose only caller, `billing` with the key `key`, has these scopes and tenants. */
export function createGatewayFor(
  may: { scopes: Scope[]; tenants?: '*' | string[] },
  options: Parameters<typeof createFakeGateway>[0] = {},
) {
  const { scopes, tenants = '*' } = may;
  const caller = policyCaller({ key_hashes: [keyHashOf('key')], scopes, tenants });
  const policy = policyOf(caller);
  return createFakeGateway({ callers: createKeyCallers(() => policy), ...options });
}

export const withKey = { headers: { Authorization: 'Bearer key' } };

export function identity(...subjects: string[]): ClientIdentity {
  return { subjects };
}

/** What the audit said, line by line. */
export function auditLines(lines: string[]): Record<string, unknown>[] {
  return lines
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((line) => line['audit'] === true);
}
