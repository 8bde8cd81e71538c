"""SOP classes of the Unified Procedure Step service (PS3.4 table CC.3-1).

pynetdicom has them too, as names that it makes when it is imported, which type checkers do not see.
"""

from __future__ import annotations

from pydicom.uid import UID

UPS_PUSH = UID("1.2.840.10008.5.1.4.34.6.1")
UPS_WATCH = UID("1.2.840.10008.5.1.4.34.6.2")
UPS_PULL = UID("1.2.840.10008.5.1.4.34.6.3")
UPS_EVENT = UID("1.2.840.10008.5.1.4.34.6.4")
UPS_QUERY = UID("1.2.840.10008.5.1.4.34.6.5")
