/* server.gateway._send_frame: the system calls of a broadcast, for some dozens of sessions in one call.
 * broadcast_send.py says when it is used, and does the same in Python.
 *
 * It reads the slots of the sessions itself. (Rejected: a call that is given the descriptors. The sessions are scattered
 * in memory, and the loop in Python that collects the descriptors waits for one after the other: 9 % of a broadcast.)
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <sys/socket.h>

#ifndef MSG_NOSIGNAL /* macOS; Python ignores SIGPIPE */
#define MSG_NOSIGNAL 0
#endif

enum { MAX_SESSIONS = 256, NOT_DIRECT = -1 };

static PyTypeObject *session_type;                       /* SendBuffer */
static Py_ssize_t is_direct, descriptor, written_pushes; /* the offsets of its slots */

#define SLOT(session, offset) (*(PyObject **)((char *)(session) + (offset)))

/* Add 1 to the session's number of pushes and return its descriptor (-1: none). The caller checks PyErr_Occurred(). */
static int begin_push(PyObject *session) {
    PyObject *before = SLOT(session, written_pushes);
    SLOT(session, written_pushes) = PyLong_FromLong(PyLong_AsLong(before) + 1);
    Py_DECREF(before);
    return (int)PyLong_AsLong(SLOT(session, descriptor));
}

static PyObject *send_frame(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
    (void)module;
    if (nargs != 2 || !PyList_CheckExact(args[0]) || !PyBytes_CheckExact(args[1]) ||
        PyList_GET_SIZE(args[0]) > MAX_SESSIONS)
        return PyErr_Format(PyExc_TypeError, "send_frame: a list of at most %d sessions and a frame", MAX_SESSIONS);
    PyObject *sessions = args[0];
    const char *frame = PyBytes_AS_STRING(args[1]);
    Py_ssize_t size = PyBytes_GET_SIZE(args[1]), count = PyList_GET_SIZE(sessions), whole = 0;
    int sockets[MAX_SESSIONS];
    Py_ssize_t sent[MAX_SESSIONS];
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *session = PyList_GET_ITEM(sessions, i);
        if (!PyObject_TypeCheck(session, session_type))
            return PyErr_Format(PyExc_TypeError, "send_frame: %R is no session", session);
        int direct = SLOT(session, is_direct) == Py_True;
        sent[i] = direct ? 0 : NOT_DIRECT;
        sockets[i] = direct ? begin_push(session) : -1;
    }
    if (PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < count; i++) {
        if (sockets[i] >= 0) {
            ssize_t n = send(sockets[i], frame, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n > 0) sent[i] = n; /* after an error, the transport finds the same error and ends the session */
        }
        whole += sent[i] == size;
    }
    Py_END_ALLOW_THREADS
    PyObject *left = PyList_New(0);
    for (Py_ssize_t i = 0; left != NULL && whole < count && i < count; i++) {
        if (sent[i] == size) continue;
        PyObject *pair = Py_BuildValue("(On)", PyList_GET_ITEM(sessions, i), sent[i]);
        if (pair == NULL || PyList_Append(left, pair) < 0) Py_CLEAR(left);
        Py_XDECREF(pair);
    }
    return left;
}

static int find_slot(const char *name, Py_ssize_t *offset) {
    PyObject *slot = PyObject_GetAttrString((PyObject *)session_type, name);
    int found = slot != NULL && Py_IS_TYPE(slot, &PyMemberDescr_Type);
    if (found) *offset = ((PyMemberDescrObject *)slot)->d_member->offset;
    if (slot != NULL && !found) PyErr_Format(PyExc_ImportError, "%s is no slot", name);
    Py_XDECREF(slot);
    return found;
}

static PyMethodDef functions[] = {
    {"send_frame", (PyCFunction)(void (*)(void))send_frame, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_send_frame", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__send_frame(void) {
    PyObject *module = PyImport_ImportModule("server.gateway.send_buffer");
    session_type = module == NULL ? NULL : (PyTypeObject *)PyObject_GetAttrString(module, "SendBuffer");
    Py_XDECREF(module);
    if (session_type == NULL || !find_slot("is_direct", &is_direct) || !find_slot("descriptor", &descriptor) ||
        !find_slot("written_pushes", &written_pushes))
        return NULL;
    return PyModule_Create(&definition);
}
