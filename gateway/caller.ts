import type { VisibleTenants } from '../connections/registry.ts';

/** What a caller may be allowed; docs/http.md says which route needs which. */
export const scopes = [
  'tokens:read',
  'tokens:refresh',
  'connections:read',
  'connections:write',
  'apps:write',
  'events:read',
] as const;
export type Scope = (typeof scopes)[number];

/** Who asks, and what for at most. */
export interface Caller {
  /** As the policy names it; at most 100 printable characters. */
  name: string;
  scopes: ReadonlySet<Scope>;
  /** The tenants it may see and write. */
  tenants: VisibleTenants;
}

/** Whether connections of a tenant are there for a caller. */
export function isVisible(tenantId: string, tenants: VisibleTenants): boolean {
  return tenants === null || tenants.has(tenantId);
}
