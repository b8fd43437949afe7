// A certified OpenID provider (the package `oidc-provider`), set up as Xero is: its paths, rotation of refresh tokens,
// revocation, RS256 id tokens, a client with a secret, PKCE demanded. Nothing of the protocol is written here.
//
// Prints `{"issuer": …}` when it listens. POST /control/rotate-keys makes it sign with a new key only.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import { Provider } from 'oidc-provider';

const { CLIENT_ID, CLIENT_SECRET, REDIRECT_URI } = process.env;
const API = 'https://api.xero.com';
const API_SCOPES = 'accounting.invoices accounting.payments.read accounting.contacts accounting.settings.read';
const COOKIE_KEYS = [randomUUID()];

function signingKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' };
}

// Grants outlive a rotation of keys: the package keeps them in one store per process.
function provider(issuer) {
  const made = new Provider(issuer, {
    clients: [{
      client_id: CLIENT_ID,
      client_secret: CLIENT_SECRET,
      redirect_uris: [REDIRECT_URI],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_basic',
      id_token_signed_response_alg: 'RS256',
    }],
    jwks: { keys: [signingKey()] },
    cookies: { keys: COOKIE_KEYS },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    // Xero gives a refresh token whenever offline_access is asked for; OpenID Connect Core §11 wants a prompt as well.
    issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
    scopes: ['openid', 'offline_access'],
    claims: { openid: ['sub'], profile: ['name'], email: ['email'] },
    findAccount: (ctx, id) => ({
      accountId: id,
      claims: async () => ({ sub: id, name: 'Ada Admin', email: 'ada@example.com' }),
    }),
    // What Xero's access tokens carry beyond the standard (developer.xero.com, token types).
    extraTokenClaims: async (ctx, token) => ({
      xero_userid: token.accountId,
      authentication_event_id: token.grantId,
    }),
    features: {
      devInteractions: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: async () => API,
        useGrantedResource: async () => true,
        getResourceServerInfo: async () => ({
          scope: API_SCOPES,
          audience: API,
          accessTokenTTL: 1800,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    routes: {
      authorization: '/identity/connect/authorize',
      token: '/connect/token',
      revocation: '/connect/revocation',
      jwks: '/.well-known/openid-configuration/jwks',
    },
    ttl: { AccessToken: 1800, IdToken: 300, RefreshToken: 60 * 86400, Grant: 60 * 86400, Session: 3600, Interaction: 600 },
  });
  return made.callback();
}

let issuer;
let handle;
const server = createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/control/rotate-keys') {
    handle = provider(issuer);
    response.writeHead(204).end();
    return;
  }
  handle(request, response);
});
server.listen(0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  handle = provider(issuer);
  console.log(JSON.stringify({ issuer }));
});
