/** What became of one provider of the file. */
export interface Converted {
  name: string;
  /** Undefined: it cannot be expressed at all. */
  definition: Record<string, unknown> | undefined;
  /** What is lost, or is to be looked at. */
  notes: string[];
}

type Json = Record<string, unknown>;

/** Members that say nothing of how tokens are refreshed. */
const irrelevant = new Set([
  'alias',
  'authorization_code_param_in_redirect',
  'authorization_params',
  'authorization_url',
  'authorization_url_encode',
  'authorization_url_fragment',
  'authorization_url_replacements',
  'authorization_url_skip_encode',
  'authorization_url_skip_empty',
  'categories',
  'connection_configuration',
  'default_scopes',
  'disable_pkce',
  'docs_connect',
  'installation',
  'post_connection_script',
  'pre_connection_deletion_script',
  'credentials_verification_script',
  'proxy',
  'redirect_uri_metadata',
  'setup_guide_url',
  'webhook_routing_script',
  'webhook_user_defined_secret',
]);
/** Members that are converted. */
const known = new Set([
  'alternate_access_token_response_path',
  'auth_mode',
  'authorization_method',
  'body_format',
  'connection_config',
  'display_name',
  'docs',
  'expires_in_unit',
  'refresh_params',
  'refresh_url',
  'scope_separator',
  'token_params',
  'token_request_auth_method',
  'token_response_metadata',
  'token_url',
]);
const anyHostPart = '^[A-Za-z0-9.-]{1,255}$';

/** Converts the contents of a providers file in Nango's format. Throws where it is no mapping of providers. */
export function convertNango(file: unknown): Converted[] {
  if (!isObject(file)) throw new Error('The file does not hold providers by name.');
  return Object.entries(file).map(([name, provider]) =>
    convert(name, resolveAlias(file, provider)),
  );
}

function resolveAlias(file: Json, provider: unknown): unknown {
  if (!isObject(provider) || typeof provider['alias'] !== 'string') return provider;
  const target = file[provider['alias']];
  return isObject(target) ? { ...target, ...provider } : provider;
}

function convert(name: string, provider: unknown): Converted {
  const leftOut = (reason: string) => ({ name, definition: undefined, notes: [reason] });
  if (!isObject(provider)) return leftOut('is not an object');
  const { auth_mode: mode, token_url: tokenUrl, refresh_url: refreshUrl } = provider;
  if (mode !== 'OAUTH2' && mode !== 'OAUTH2_CC') {
    return leftOut(`auth_mode ${textOf(mode)} has no OAuth 2.0 token to refresh`);
  }
  if (typeof tokenUrl !== 'string') return leftOut('token_url is not one URL');
  const notes: string[] = [];
  const variables = new Map<string, string>();
  const toTemplate = (url: string): string =>
    url.replaceAll(/\$\{connectionConfig\.([A-Za-z0-9_]+)\}/g, (_, variable: string) => {
      variables.set(variable, snakeCase(variable));
      return `\${${snakeCase(variable)}}`;
    });
  const isClient = mode === 'OAUTH2_CC';
  const urls = {
    token_url: toTemplate(tokenUrl),
    ...(typeof refreshUrl === 'string' && { refresh_url: toTemplate(refreshUrl) }),
  };
  const definition: Json = {
    ...(typeof provider['display_name'] === 'string' && { display_name: provider['display_name'] }),
    ...docsOf(provider['docs']),
    ...urls,
    ...variablesOf(variables, provider['connection_config'], notes),
    client_auth: clientAuthOf(provider, notes),
    ...requestOf(provider, isClient, notes),
    ...responseOf(provider, notes),
    ...(isClient && { credential: 'client', rotation: { class: 'S' } }),
    ...(typeof provider['scope_separator'] === 'string' && {
      scope: { separator: provider['scope_separator'] },
    }),
  };
  if (!isClient) {
    notes.push('the rotation class is not in the file: F, the strictest, until you name another');
  }
  for (const member of Object.keys(provider)) {
    if (known.has(member) || irrelevant.has(member)) continue;
    notes.push(`${member} is not converted: look whether a refresh needs it`);
  }
  return { name, definition, notes };
}

function docsOf(docs: unknown): Json {
  return typeof docs === 'string' && docs.startsWith('https://') ? { docs: [docs] } : {};
}

function variablesOf(names: Map<string, string>, config: unknown, notes: string[]): Json {
  if (names.size === 0) return {};
  const variables = [...names].map(([name, variable]) => {
    if (name !== variable) notes.push(`the variable ${name} is ${variable} now`);
    const field = isObject(config) ? config[name] : undefined;
    const pattern = isObject(field) ? field['pattern'] : undefined;
    if (typeof pattern === 'string') return [variable, { pattern: anchored(pattern) }];
    notes.push(`the variable ${variable} has no pattern in the file: bound ${anyHostPart} further`);
    return [variable, { pattern: anyHostPart }];
  });
  return { variables: Object.fromEntries(variables) as Json };
}

function anchored(pattern: string): string {
  return pattern.startsWith('^') && pattern.endsWith('$') ? pattern : `^(?:${pattern})$`;
}

function clientAuthOf(provider: Json, notes: string[]): string {
  const method = provider['token_request_auth_method'];
  if (method === 'basic' || method === 'private_key_jwt') return method;
  if (method !== undefined) {
    notes.push(`token_request_auth_method ${textOf(method)} is not converted: client_auth is post`);
  }
  return method === undefined && provider['authorization_method'] === 'header' ? 'basic' : 'post';
}

function requestOf(provider: Json, isClient: boolean, notes: string[]): Json {
  const { body_format: format } = provider;
  const given = provider[isClient ? 'token_params' : 'refresh_params'];
  const usual = isClient ? 'client_credentials' : 'refresh_token';
  const params: Json = {};
  let grantType: string | undefined;
  for (const [name, value] of Object.entries(isObject(given) ? given : {})) {
    if (name === 'grant_type') grantType = value === usual ? undefined : textOf(value);
    else if (typeof value === 'string' && value.includes('${')) {
      notes.push(`the parameter ${name} is made of ${value}, which is not converted`);
    } else params[name] = value;
  }
  const request = {
    ...((format === 'json' || format === 'query') && { body_format: format }),
    ...(Object.keys(params).length > 0 && { params }),
  };
  return {
    ...(Object.keys(request).length > 0 && { request }),
    ...(grantType !== undefined && { grant_type: grantType }),
  };
}

function responseOf(provider: Json, notes: string[]): Json {
  const path = provider['alternate_access_token_response_path'];
  const metadata = provider['token_response_metadata'];
  const pointers = (Array.isArray(metadata) ? (metadata as unknown[]) : []).flatMap((entry) => {
    if (typeof entry === 'string')
      return [{ name: entry.split('.').at(-1), pointer: pointerOf(entry) }];
    notes.push('an entry of token_response_metadata is not a path, and not converted');
    return [];
  });
  const response = {
    ...(typeof path === 'string' && { access_token: pointerOf(path) }),
    ...(provider['expires_in_unit'] === 'milliseconds' && {
      expires_in: { pointer: '/expires_in', unit: 'milliseconds' },
    }),
    ...(pointers.length > 0 && { metadata: pointers }),
  };
  return Object.keys(response).length > 0 ? { response } : {};
}

function pointerOf(path: string): string {
  return path
    .split('.')
    .map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`)
    .join('');
}

function snakeCase(name: string): string {
  return name.replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase();
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null);
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
