"""Files of halos as other codes write them, of the same few halos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from iaemu_likelihood.emulator.halos.readers.assembling import Halos

BOX, REDSHIFT, PARTICLE_MASS = 60.0, 0.5, 2.0e8
OM0, H = 0.3, 0.7
COSMOLOGY = f"flat LCDM Om0={OM0} Ob0=0.05 h={H} sigma8=0.8 ns=0.96"

# First lines of such files as public codes and releases have them: the columns differ in order, case and
# numbering.
_AXES = "b_to_a{} c_to_a{} A[x]{} A[y]{} A[z]{}"
_OWN, _WITHIN = _AXES.replace("{}", ""), _AXES.replace("{}", "(500c)")
_OUT = (
    "#ID DescID Mvir Vmax Vrms Rvir Rs Np X Y Z VX VY VZ JX JY JZ Spin rs_klypin Mvir_all M200b M200c "
    f"M500c M2500c Xoff Voff spin_bullock {_OWN} {_WITHIN} T/|U| M_pe_Behroozi M_pe_Diemer "
)
_TREE = (
    "#scale(0) id(1) desc_scale(2) desc_id(3) num_prog(4) pid(5) upid(6) desc_pid(7) phantom(8) "
    "sam_{m}vir(9) {m}vir(10) {r}vir(11) rs(12) vrms(13) mmp?(14) scale_of_last_MM(15) vmax(16) x(17) "
    "y(18) z(19) vx(20) vy(21) vz(22) Jx(23) Jy(24) Jz(25) Spin(26) Breadth_first_ID(27) "
    "Depth_first_ID(28) Tree_root_ID(29) Orig_halo_ID(30) {snap}(31) "
    "Next_coprogenitor_depthfirst_ID(32) Last_progenitor_depthfirst_ID(33) "
)


def _numbered(names: str, first: int) -> str:
    return " ".join(f"{name}({first + i})" for i, name in enumerate(names.split()))


_MASSES = "M200b M200c M500c M2500c Xoff Voff Spin_Bullock"
_TAIL = "T/|U| M_pe_Behroozi M_pe_Diemer Halfmass_Radius"
_SMALL = {"m": "m", "r": "r", "snap": "Snap_num"}
_LARGE = {"m": "M", "r": "R", "snap": "Snap_num"}
_HISTORY = "Macc Mpeak Vacc Vpeak"
ROCKSTAR = {
    "out with parents": f"{_OUT}Halfmass_Radius rvmax PID",
    "hlist, 2015": _TREE.format(**_SMALL)
    + "Last_mainleaf_depthfirst_ID(34) "
    + _numbered(f"Rs_Klypin Mvir_all {_MASSES} {_OWN} {_WITHIN} {_TAIL} {_HISTORY}", 35),
    "hlist, another release": _TREE.format(**_SMALL)
    + _numbered(f"Rs_Klypin Mmvir_all {_MASSES} {_OWN} {_WITHIN} T/|U| {_HISTORY}", 34),
    "hlist with tidal columns": _TREE.format(**_LARGE)
    + "Last_mainleaf_depthfirst_ID(34) "
    + _numbered(
        f"Tidal_Force Tidal_ID Rs_Klypin Mmvir_all {_MASSES} {_OWN} {_WITHIN} {_TAIL} {_HISTORY}",
        35,
    ),
    "tree, numbered to 36": _TREE.format(**_LARGE | {"snap": "Snap_idx"})
    + "Last_mainleaf_depthfirst_ID(34) Tidal_Force(35) Tidal_ID(36) "
    + f"Rs_Klypin Mvir_all {_MASSES} {_OWN} {_WITHIN} {_TAIL} RVmax",
}
WITHOUT_PARENTS = {
    "out": f"{_OUT}Halfmass_Radius rvmax",
    "out of galaxies": f"{_OUT}Type SM Gas BH_Mass",
    "halos": "#id num_p mvir mbound_vir rvir vmax rvmax vrms x y z vx vy vz Jx Jy Jz E Spin "
    "PosUncertainty VelUncertainty bulk_vx bulk_vy bulk_vz BulkVelUnc n_core m200b m200c m500c m2500c "
    f"Xoff Voff spin_bullock {_OWN} {_WITHIN} Rs Rs_Klypin T/|U| M_pe_Behroozi M_pe_Diemer "
    "Halfmass_Radius idx i_so i_ph num_cp mmetric",
}


@dataclass
class Simulated(Halos):
    """Halos as a finder would give them, in the units of the package."""

    @classmethod
    def make(cls, n_hosts: int = 240, seed: int = 1) -> Simulated:
        """Hosts that fill the box, each with two subhalos, one of which is a subhalo of the other."""
        rng = np.random.default_rng(seed)
        mass = np.sort(10 ** rng.uniform(11.5, 14.5, n_hosts))[::-1]
        rvir = 0.2 * np.cbrt(mass / 1e12)
        position = rng.uniform(0, BOX, (n_hosts, 3))
        n = 3 * n_hosts
        host = np.concatenate([np.arange(n_hosts), np.repeat(np.arange(n_hosts), 2)])
        ids = 5_000_000_000 + 7 * rng.permutation(n)
        parent = np.full(n, -1)
        first = n_hosts + 2 * np.arange(n_hosts)
        parent[first], parent[first + 1] = ids[:n_hosts], ids[first]
        offset = rng.normal(size=(n, 3))
        offset *= (rng.uniform(0.1, 0.9, n) * rvir[host] / np.linalg.norm(offset, axis=1))[:, None]
        offset[:n_hosts] = 0
        subhalo_mass = mass[host] * np.where(np.arange(n) < n_hosts, 1, rng.uniform(0.01, 0.1, n))
        return cls(
            id=ids,
            parent=parent,
            position=(position[host] + offset) % BOX,
            velocity=rng.normal(0, 300, (n, 3)),
            axis=rng.normal(size=(n, 3)),
            mass=subhalo_mass,
            rvir=0.2 * np.cbrt(subhalo_mass / 1e12),
            peak_mass=subhalo_mass * rng.uniform(1, 2, n),
            concentration=rng.uniform(4, 12, n),
        )

    @property
    def host(self) -> np.ndarray:
        """Row of each halo's host."""
        row = {int(x): i for i, x in enumerate(self.id)}
        found = np.arange(len(self.id))
        for i in found:
            while self.parent[found[i]] != -1:
                found[i] = row[int(self.parent[found[i]])]
        return found

    def rockstar(self, header, lines=(), in_kpc=True) -> str:
        """Text of a file of Rockstar with the columns of a header."""
        length = 1000.0 if in_kpc else 1.0
        known = {
            "scale": np.full(len(self.id), 1 / (1 + REDSHIFT)),
            "id": self.id,
            "pid": self.parent,
            "upid": np.where(self.parent == -1, -1, self.id[self.host]),
            "mvir": self.mass,
            "rvir": self.rvir * length,
            "rs": self.rvir * length / self.concentration,
            "mpeak": self.peak_mass,
            **dict(zip(("x", "y", "z"), self.position.T, strict=True)),
            **dict(zip(("vx", "vy", "vz"), self.velocity.T, strict=True)),
            **dict(zip(("a[x]", "a[y]", "a[z]"), self.axis.T, strict=True)),
        }
        columns = []
        for i, name in enumerate(header.lstrip("#").split()):
            plain = name.lower()
            number = plain.rfind("(")
            if number > 0 and plain[number + 1 : -1].isdigit():
                plain = plain[:number]
            columns.append(known.get(plain, np.full(len(self.id), 1000.0 + i)))
        rows = (
            " ".join(str(x) if x.dtype.kind == "i" else f"{x:.9g}" for x in row)
            for row in zip(*columns, strict=True)
        )
        return "\n".join([header, *lines, *rows]) + "\n"

    def write_soap(self, path, physical=False, own_host=False, tensor="total_inertia_tensor"):
        """A file of SOAP; physical lengths by their flag, and centrals that name themselves."""
        import h5py

        scale = 1 / (1 + REDSHIFT)
        central = self.parent == -1
        row = self.host
        exponents = {
            "L": (1, 0, 0),
            "M": (0, 1, 0),
            "V": (1, 0, -1),
            "A": (2, 0, 0),
            "1": (0, 0, 0),
        }

        # A mass tensor whose major axis is the halo's: three axes of different lengths about it.
        major = self.axis / np.linalg.norm(self.axis, axis=1, keepdims=True)
        other = np.cross(major, np.where(np.abs(major[:, :1]) < 0.9, [1.0, 0, 0], [0, 1.0, 0]))
        other /= np.linalg.norm(other, axis=1, keepdims=True)
        third = np.cross(major, other)
        full = sum(
            w * v[:, :, None] * v[:, None, :] for w, v in ((4, major), (2, other), (1, third))
        )
        xx, yy, zz = (full[:, i, i] for i in range(3))
        stored = np.stack([xx, yy, zz, full[:, 0, 1], full[:, 0, 2], full[:, 1, 2]], axis=-1)

        with h5py.File(path, "w") as file:
            groups = ["BoundSubhalo", "InputHalos", "InputHalos/HBTplus", "SO/BN98", "SOAP"]
            header = file.create_group("Header")
            header.attrs.update(
                {
                    "OutputType": "SOAP",
                    "BoxSize": np.full(3, BOX / H),
                    "Redshift": [REDSHIFT],
                    "Scale-factor": [scale],
                    "Dimension": [3],
                    "NumSubhalos_ThisFile": [len(self.id)],
                    "NumPart_ThisFile": np.zeros(7, np.int64),
                    "SubhaloTypes": groups,
                    "InitialMassTable": [0, PARTICLE_MASS / H / 1e10, 0, 0, 0, 0, 0],
                }
            )
            cgs = {"M": 1.98841e43, "L": 3.08567758e24, "t": 3.08567758e19, "I": 1.0, "T": 1.0}
            names = {"M": "mass", "L": "length", "t": "time", "I": "current", "T": "temperature"}
            file.create_group("Units").attrs.update(
                {f"Unit {names[k]} in cgs (U_{k})": [v] for k, v in cgs.items()}
            )
            cosmology = {"Cosmological run": 1, "h": H, "Omega_m": OM0, "Omega_b": 0.05,
                         "Omega_lambda": 1 - OM0, "Omega_cdm": OM0 - 0.05, "Omega_k": 0.0,
                         "Omega_r": 0.0, "Omega_nu": 0.0, "w_0": -1.0, "w_a": 0.0, "w": -1.0,
                         "Redshift": REDSHIFT, "Scale-factor": scale, "T_CMB_0 [K]": 2.7,
                         "H0 [internal units]": 100 * H, "N_eff": 3.04, "N_ur": 3.04}  # fmt: skip
            file.create_group("Cosmology").attrs.update(
                {k: np.atleast_1d(v) for k, v in cosmology.items()}
            )
            for group in groups:
                file.require_group(group)

            def put(name, values, unit="1"):
                length, mass, time = (exponents[unit][0], exponents[unit][1], -exponents[unit][2])
                comoving = unit in ("L", "A")
                values = np.asarray(values)
                if comoving and physical:
                    values = values * scale**length
                data = file.create_dataset(name, data=values)
                data.attrs.update(
                    {
                        "U_L exponent": [float(length)], "U_M exponent": [float(mass)],
                        "U_t exponent": [-float(time)], "U_I exponent": [0.0],
                        "U_T exponent": [0.0], "a-scale exponent": [float(length * comoving)],
                        "h-scale exponent": [0.0],
                        "Value stored as physical": [int(physical and comoving)],
                        "Property can be converted to comoving": [1], "Description": name,
                    }
                )  # fmt: skip

            put("InputHalos/HaloCatalogueIndex", self.id)
            put("InputHalos/IsCentral", central.astype(np.int32))
            put("InputHalos/HaloCentre", self.position / H, "L")
            put("InputHalos/HBTplus/LastMaxMass", self.peak_mass / H / 1e10, "M")
            put("SOAP/HostHaloIndex", np.where(central, row if own_host else -1, row))
            put("SO/BN98/TotalMass", np.where(central, self.mass, 0) / H / 1e10, "M")
            put("SO/BN98/SORadius", np.where(central, self.rvir, 0) / H, "L")
            put("SO/BN98/Concentration", np.where(central, self.concentration, 0))
            name = "".join(word.capitalize() for word in tensor.split("_"))
            put(f"BoundSubhalo/{name}", stored, "A")
            put("BoundSubhalo/TotalMass", self.mass / H / 1e10, "M")
            put("BoundSubhalo/CentreOfMassVelocity", self.velocity, "V")

    def write_compaso(self, folder, n_merged=3):
        """A folder of CompaSO, of hosts only; `n_merged` of them were given to others by cleaning."""
        import asdf

        hosts = np.flatnonzero(self.parent == -1)
        n = len(hosts)
        rng = np.random.default_rng(3)
        number = np.rint(self.mass[hosts] / PARTICLE_MASS).astype(np.uint32)
        r100 = self.rvir[hosts].astype(np.float32)
        share = np.stack([rng.uniform(0.15, 0.3, n), rng.uniform(0.85, 0.98, n)])
        data = {
            "id": self.id[hosts].astype(np.uint64),
            "N": number,
            "x_L2com": (self.position[hosts] / BOX - 0.5).astype(np.float32),
            "v_L2com": (self.velocity[hosts] / 1000).astype(np.float32),
            "r100_L2com": r100 / np.float32(BOX),
            "r25_L2com_i16": np.rint(share[0] * 32000).astype(np.int16),
            "r98_L2com_i16": np.rint(share[1] * 32000).astype(np.int16),
            "sigman_eigenvecs_L2com_u16": rng.integers(0, 60000, n).astype(np.uint16),
        }
        header = {
            "SimName": "Tiny", "BoxSize": BOX, "BoxSizeHMpc": BOX, "Redshift": REDSHIFT, "ppd": 64.0,
            "ParticleMassHMsun": PARTICLE_MASS, "Omega_M": OM0, "H0": 100 * H, "hMpc": 1,
            "SODensityL1": 250.0, "VelZSpace_to_kms": 1000.0, "TimeSliceRedshiftsPrev": [0.6],
        }  # fmt: skip
        left = number.copy()
        left[:n_merged] = 0
        none = np.zeros(n, np.int64)
        cleaned = {
            "N_total": left, "N_merge": np.zeros(n, np.uint32), "haloindex": data["id"],
            "is_merged_to": none - 1, "haloindex_mainprog": none,
            "v_L2com_mainprog": np.zeros((n, 3), np.float32),
            "npstartA_merge": none, "npstartB_merge": none,
            "npoutA_merge": np.zeros(n, np.uint32), "npoutB_merge": np.zeros(n, np.uint32),
        }  # fmt: skip
        of_halos = folder / "Tiny/halos/z0.500/halo_info"
        of_cleaning = folder / "cleaning/Tiny/z0.500/cleaned_halo_info"
        for place, name, columns in (
            (of_halos, "halo_info_000.asdf", data),
            (of_cleaning, "cleaned_halo_info_000.asdf", cleaned),
        ):
            place.mkdir(parents=True)
            asdf.AsdfFile({"header": header, "data": columns}).write_to(place / name)
        return of_halos.parent, hosts[n_merged:]
